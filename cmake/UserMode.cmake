# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# User mode's parts that belong to no rdma-core release: tcpzc-run, the preload
# library and the connection manager.

set(USER "${PROJECT_SOURCE_DIR}/providers/tcpzc/user")
file(GLOB PRELOAD_SOURCES CONFIGURE_DEPENDS "${USER}/preload*.c")
file(GLOB RUN_SOURCES CONFIGURE_DEPENDS "${USER}/tcpzc-run*.c" "${USER}/sysfs*.c")
if(NOT PRELOAD_SOURCES OR NOT RUN_SOURCES)
  return()
endif()

# Loaded into every program: nothing but libc, all symbols bound at start (the
# first call of an interposed function may come from anywhere), and never a
# sanitizer, whose runtime would have to come first.
add_library(tcpzc-preload MODULE ${PRELOAD_SOURCES})
target_include_directories(tcpzc-preload PRIVATE
  "${PROJECT_SOURCE_DIR}/providers/tcpzc" "${TCPZC_UAPI}")
target_link_libraries(tcpzc-preload PRIVATE tcpzc_warnings ${CMAKE_DL_LIBS})
target_compile_options(tcpzc-preload PRIVATE -O2 -fvisibility=hidden
  -fno-builtin -fno-delete-null-pointer-checks -U_FORTIFY_SOURCE
  -U_FILE_OFFSET_BITS -U_TIME_BITS)
target_link_options(tcpzc-preload PRIVATE LINKER:--no-undefined LINKER:-z,now
  LINKER:-z,nodelete)
set_target_properties(tcpzc-preload PROPERTIES
  LIBRARY_OUTPUT_DIRECTORY "${TCPZC_LIB}")

# rdma_cm in the process: loaded by the preload library when it is asked for.
file(GLOB CM_SOURCES CONFIGURE_DEPENDS "${USER}/cm-*.c")
find_package(Threads REQUIRED)
add_library(tcpzc-cm MODULE ${CM_SOURCES} "${USER}/links.c" "${USER}/thread.c")
target_include_directories(tcpzc-cm PRIVATE
  "${PROJECT_SOURCE_DIR}/providers/tcpzc" "${TCPZC_UAPI}")
target_link_libraries(tcpzc-cm PRIVATE tz_engine tcpzc_options Threads::Threads)
target_compile_options(tcpzc-cm PRIVATE -fvisibility=hidden)
target_link_options(tcpzc-cm PRIVATE LINKER:-z,now LINKER:-z,nodelete)
set_target_properties(tcpzc-cm PROPERTIES
  LIBRARY_OUTPUT_DIRECTORY "${TCPZC_LIB}")

add_executable(tcpzc-run ${RUN_SOURCES})
target_include_directories(tcpzc-run PRIVATE
  "${PROJECT_SOURCE_DIR}/providers/tcpzc" "${TCPZC_UAPI}")
target_link_libraries(tcpzc-run PRIVATE tcpzc_options ${CMAKE_DL_LIBS})
target_compile_definitions(tcpzc-run PRIVATE
  TCPZC_VERSION="${PROJECT_VERSION}"
  TCPZC_SANITIZER_RUNTIME="${TCPZC_SANITIZER_RUNTIME}"
  TCPZC_LIBDIR="${CMAKE_INSTALL_LIBDIR}")
set_target_properties(tcpzc-run PROPERTIES
  RUNTIME_OUTPUT_DIRECTORY "${TCPZC_BIN}")
