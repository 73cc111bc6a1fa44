# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# Warnings and sanitizers for our own sources. Included by the top level and,
# inside the rdma-core overlay, by providers/tcpzc, so that both agree.
#
#   tcpzc_warnings   (INTERFACE) warning flags; warnings are errors
#   tcpzc_options    (INTERFACE) tcpzc_warnings + the chosen sanitizer; link
#                    everything of ours to it, PRIVATE, except the preload
#                    library, which runs before any sanitizer's runtime

set(TCPZC_SANITIZE "" CACHE STRING "address, thread or empty")
set_property(CACHE TCPZC_SANITIZE PROPERTY STRINGS "" address thread)

add_library(tcpzc_warnings INTERFACE)
target_compile_options(tcpzc_warnings INTERFACE
  -std=gnu11 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare
  -Wno-missing-field-initializers
  -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wold-style-definition
  -Wwrite-strings -Wformat=2 -Wdate-time)

add_library(tcpzc_options INTERFACE)
target_link_libraries(tcpzc_options INTERFACE tcpzc_warnings)
# Assertions stay on, in the overlay too, except in packagers' builds.
if(NOT CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(tcpzc_options INTERFACE -UNDEBUG)
endif()

# The sanitizer's runtime must be the process's first library when the program
# itself (a distribution's binary) is not instrumented; tcpzc-run preloads it.
set(TCPZC_SANITIZER_RUNTIME "")

function(tcpzc_find_runtime NAMES)
  foreach(NAME ${NAMES})
    execute_process(COMMAND "${CMAKE_C_COMPILER}" -print-file-name=${NAME}
      OUTPUT_VARIABLE PATH OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(IS_ABSOLUTE "${PATH}" AND EXISTS "${PATH}")
      get_filename_component(PATH "${PATH}" REALPATH)
      set(TCPZC_SANITIZER_RUNTIME "${PATH}" PARENT_SCOPE)
      return()
    endif()
  endforeach()
  message(FATAL_ERROR "${CMAKE_C_COMPILER} has no shared runtime for "
    "-fsanitize=${TCPZC_SANITIZE} (looked for: ${NAMES})")
endfunction()

if(TCPZC_SANITIZE STREQUAL "address")
  set(SAN_FLAGS -fsanitize=address,undefined -fno-sanitize-recover=undefined
    -fno-omit-frame-pointer)
  # rdma-core takes members' addresses through null pointers, as offsetof();
  # real null pointers are ASan's to report.
  list(APPEND SAN_FLAGS -fno-sanitize=null,object-size)
  set(SAN_NAME asan)
elseif(TCPZC_SANITIZE STREQUAL "thread")
  if(CMAKE_C_COMPILER_ID MATCHES "Clang")
    # A distribution's program needs the runtime as a shared library, and
    # Clang's crashes when it is loaded.
    message(FATAL_ERROR "TCPZC_SANITIZE=thread needs GCC")
  endif()
  set(SAN_FLAGS -fsanitize=thread -fno-omit-frame-pointer)
  set(SAN_NAME tsan)
elseif(TCPZC_SANITIZE)
  message(FATAL_ERROR "TCPZC_SANITIZE must be address, thread or empty")
endif()

if(TCPZC_SANITIZE)
  target_compile_options(tcpzc_options INTERFACE ${SAN_FLAGS})
  target_link_options(tcpzc_options INTERFACE ${SAN_FLAGS})
  set(RT_ARCH "${CMAKE_SYSTEM_PROCESSOR}")
  if(CMAKE_C_COMPILER_ID MATCHES "Clang")
    # Clang links the runtime statically into programs by default, and not
    # at all into shared objects such as the provider.
    tcpzc_find_runtime("libclang_rt.${SAN_NAME}-${RT_ARCH}.so;libclang_rt.${SAN_NAME}.so")
    get_filename_component(RT_DIR "${TCPZC_SANITIZER_RUNTIME}" DIRECTORY)
    target_link_options(tcpzc_options INTERFACE -shared-libsan
      "LINKER:-rpath,${RT_DIR}")
  else()
    tcpzc_find_runtime("lib${SAN_NAME}.so")
  endif()
endif()
