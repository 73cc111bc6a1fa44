# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# Tests of the provider proper with a backend that does nothing, and of the kernel
# backend without a kernel. Included by tests/CMakeLists.txt; needs cmocka and the
# target tcpzc_ibverbs.

set(PROVIDER_TEST_ROOT "${CMAKE_CURRENT_LIST_DIR}/../..")
file(GLOB PROVIDER_TEST_SOURCES CONFIGURE_DEPENDS
  "${PROVIDER_TEST_ROOT}/providers/tcpzc/*.c")

add_library(provider_fake STATIC EXCLUDE_FROM_ALL
  "${CMAKE_CURRENT_LIST_DIR}/provider_fake.c" ${PROVIDER_TEST_SOURCES})
target_include_directories(provider_fake PUBLIC
  "${CMAKE_CURRENT_LIST_DIR}"
  "${PROVIDER_TEST_ROOT}/providers/tcpzc"
  "${PROVIDER_TEST_ROOT}/engine"
  "${PROVIDER_TEST_ROOT}/include/uapi")
target_compile_definitions(provider_fake PUBLIC _GNU_SOURCE)
target_link_libraries(provider_fake
  PUBLIC tz_engine tcpzc_ibverbs cmocka Threads::Threads
  PRIVATE tcpzc_options)

foreach(NAME objects cq post)
  add_executable(provider_${NAME} "${CMAKE_CURRENT_LIST_DIR}/provider_${NAME}.c")
  target_link_libraries(provider_${NAME} PRIVATE provider_fake tcpzc_options)
  add_test(NAME provider_${NAME} COMMAND provider_${NAME})
endforeach()

# The doorbell's system call is the one thing of the kernel backend that is
# counted instead.
file(GLOB KERNEL_BACKEND_SOURCES CONFIGURE_DEPENDS
  "${PROVIDER_TEST_ROOT}/providers/tcpzc/kernel/*.c")
list(FILTER KERNEL_BACKEND_SOURCES EXCLUDE REGEX "/kb_door\\.c$")
add_executable(provider_kernel
  "${CMAKE_CURRENT_LIST_DIR}/provider_kernel.c"
  "${CMAKE_CURRENT_LIST_DIR}/provider_kernel_fake.c"
  ${PROVIDER_TEST_SOURCES} ${KERNEL_BACKEND_SOURCES})
target_include_directories(provider_kernel PRIVATE
  "${PROVIDER_TEST_ROOT}/providers/tcpzc"
  "${PROVIDER_TEST_ROOT}/providers/tcpzc/kernel"
  "${PROVIDER_TEST_ROOT}/engine"
  "${PROVIDER_TEST_ROOT}/include/uapi")
target_compile_definitions(provider_kernel PRIVATE _GNU_SOURCE)
target_link_libraries(provider_kernel
  PRIVATE tz_engine tcpzc_ibverbs cmocka Threads::Threads tcpzc_options)
add_test(NAME provider_kernel COMMAND provider_kernel)
