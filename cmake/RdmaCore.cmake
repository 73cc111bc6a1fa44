# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# Finds or fetches the source of the matching rdma-core release, overlays
# providers/tcpzc and builds only what is needed of it.
#
# Sets (cache): TCPZC_RDMA_CORE_VERSION; (normal) TCPZC_RDMA_CORE_PABI, the NN
# of libtcpzc-rdmavNN.so, TCPZC_RDMA_CORE_SOURCE and TCPZC_RDMA_CORE_BUILD.
# Defines:
#
#   rdma-core        (target) builds and stages libibverbs, librdmacm, provider
#   tcpzc_ibverbs    (imported) the private libibverbs with public headers
#   tcpzc_rdmacm     (imported) the private librdmacm
#
# Internal headers (infiniband/driver.h, util/, ccan/) are in the same include
# directory; programs that want them link tcpzc_ibverbs all the same.

include(ExternalProject)

set(TCPZC_RDMA_CORE_SOURCE_DIR "" CACHE PATH "Unpacked rdma-core source to use")
set(TCPZC_RDMA_CORE_VERSION "" CACHE STRING "rdma-core release (default: installed)")
set(RDMA_CORE_ROOT "${PROJECT_BINARY_DIR}/rdma-core")

# The release that is picked depends on the installed libibverbs.
find_library(SYSTEM_IBVERBS NAMES libibverbs.so.1 NO_CMAKE_PATH)
if(SYSTEM_IBVERBS)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
    "${SYSTEM_IBVERBS}")
  get_filename_component(SYSTEM_IBVERBS_FILE "${SYSTEM_IBVERBS}" REALPATH)
  get_filename_component(SYSTEM_IBVERBS_STAMP "${SYSTEM_IBVERBS_FILE}" NAME)
  string(REGEX REPLACE "^libibverbs\\.so\\.1\\.[0-9]+\\." ""
    TCPZC_SYSTEM_RELEASE "${SYSTEM_IBVERBS_STAMP}")
else()
  set(SYSTEM_IBVERBS_STAMP none)
  set(TCPZC_SYSTEM_RELEASE "")
endif()

# Fetch and unpack; remembered in the cache until the installed library or the
# request changes, so that reconfiguring does not go to the network.
function(tcpzc_fetch_rdma_core)
  set(KEY "${TCPZC_RDMA_CORE_VERSION}|${SYSTEM_IBVERBS_STAMP}")
  if(KEY STREQUAL "${TCPZC_RDMA_CORE_KEY}" AND
     EXISTS "${TCPZC_RDMA_CORE_FETCHED}/CMakeLists.txt")
    return()
  endif()
  execute_process(
    COMMAND "${PROJECT_SOURCE_DIR}/cmake/fetch-rdma-core"
      ${TCPZC_RDMA_CORE_VERSION}
    OUTPUT_VARIABLE ANSWER OUTPUT_STRIP_TRAILING_WHITESPACE
    RESULT_VARIABLE STATUS)
  if(NOT STATUS EQUAL 0 OR NOT ANSWER MATCHES "^([0-9.]+) (.+)$")
    message(FATAL_ERROR "No rdma-core source to build against")
  endif()
  set(VERSION "${CMAKE_MATCH_1}")
  set(TARBALL "${CMAKE_MATCH_2}")
  set(DIR "${RDMA_CORE_ROOT}/rdma-core-${VERSION}")
  if(NOT EXISTS "${DIR}/.unpacked")
    file(REMOVE_RECURSE "${DIR}")
    message(STATUS "Unpacking rdma-core ${VERSION}")
    file(ARCHIVE_EXTRACT INPUT "${TARBALL}" DESTINATION "${RDMA_CORE_ROOT}")
    file(TOUCH "${DIR}/.unpacked")
  endif()
  set(TCPZC_RDMA_CORE_KEY "${KEY}" CACHE INTERNAL "")
  set(TCPZC_RDMA_CORE_FETCHED "${DIR}" CACHE INTERNAL "")
endfunction()

# A source directory given by the user is not written to: the overlay needs two
# changes (a link and a line), so it is a tree of links to it.
function(tcpzc_shadow_source)
  set(DIR "${RDMA_CORE_ROOT}/overlay")
  file(REMOVE_RECURSE "${DIR}")
  file(MAKE_DIRECTORY "${DIR}/providers")
  file(GLOB ENTRIES "${TCPZC_RDMA_CORE_SOURCE_DIR}/*"
    "${TCPZC_RDMA_CORE_SOURCE_DIR}/providers/*")
  foreach(ENTRY ${ENTRIES})
    file(RELATIVE_PATH NAME "${TCPZC_RDMA_CORE_SOURCE_DIR}" "${ENTRY}")
    if(NOT NAME STREQUAL "providers" AND NOT NAME STREQUAL "CMakeLists.txt")
      file(CREATE_LINK "${ENTRY}" "${DIR}/${NAME}" SYMBOLIC)
    endif()
  endforeach()
  configure_file("${TCPZC_RDMA_CORE_SOURCE_DIR}/CMakeLists.txt"
    "${DIR}/CMakeLists.txt" COPYONLY)
endfunction()

if(TCPZC_RDMA_CORE_SOURCE_DIR)
  tcpzc_shadow_source()
  set(TCPZC_RDMA_CORE_SOURCE "${RDMA_CORE_ROOT}/overlay")
else()
  tcpzc_fetch_rdma_core()
  set(TCPZC_RDMA_CORE_SOURCE "${TCPZC_RDMA_CORE_FETCHED}")
endif()

file(READ "${TCPZC_RDMA_CORE_SOURCE}/CMakeLists.txt" TOP)
string(REGEX MATCH "set\\(PACKAGE_VERSION \"([0-9.]+)\"" MATCHED "${TOP}")
set(TCPZC_RDMA_CORE_RELEASE "${CMAKE_MATCH_1}")
string(REGEX MATCH "set\\(IBVERBS_PABI_VERSION \"([0-9]+)\"" MATCHED "${TOP}")
set(TCPZC_RDMA_CORE_PABI "${CMAKE_MATCH_1}")
if(NOT TCPZC_RDMA_CORE_RELEASE OR NOT TCPZC_RDMA_CORE_PABI)
  message(FATAL_ERROR "${TCPZC_RDMA_CORE_SOURCE} is not an rdma-core source")
endif()

# The overlay: the provider's directory by link, and one line that enters it.
# Compiling from the real path keeps edit-and-rebuild incremental.
file(CREATE_LINK "${PROJECT_SOURCE_DIR}/providers/tcpzc"
  "${TCPZC_RDMA_CORE_SOURCE}/providers/tcpzc" SYMBOLIC)
# The second change gives the private libibverbs another configuration directory:
# what /etc/libibverbs.d names belongs to the system's release, and the provider is
# named by path (IBV_DRIVERS). libibverbs complains if there is none, so it is one
# that is always there, has only directories, and only the kernel adds to.
set(ENTER "add_subdirectory(providers/siw)")
set(CONFIGURE "configure_file(\"\${BUILDLIB}/config.h.in\"")
set(CONFIG "set(CONFIG_DIR \"/proc/fs\")\n")
string(FIND "${TOP}" "${CONFIG}${CONFIGURE}" DONE)
if(DONE LESS 0)
  # What an earlier release of tcpzc has left in this tree
  string(REPLACE "add_subdirectory(providers/tcpzc)\n" "" TOP "${TOP}")
  string(REPLACE "set(CONFIG_DIR \"/dev/infiniband/tcpzc/libibverbs.d\")\n" ""
    TOP "${TOP}")
  string(FIND "${TOP}" "${ENTER}" AT1)
  string(FIND "${TOP}" "${CONFIGURE}" AT2)
  if(AT1 LESS 0 OR AT2 LESS 0)
    message(FATAL_ERROR "rdma-core ${TCPZC_RDMA_CORE_RELEASE}: its "
      "CMakeLists.txt has changed too much for the overlay")
  endif()
  string(REPLACE "${ENTER}" "${ENTER}\nadd_subdirectory(providers/tcpzc)"
    TOP "${TOP}")
  string(REPLACE "${CONFIGURE}" "${CONFIG}${CONFIGURE}" TOP "${TOP}")
  file(WRITE "${TCPZC_RDMA_CORE_SOURCE}/CMakeLists.txt" "${TOP}")
endif()

set(TCPZC_RDMA_CORE_BUILD "${RDMA_CORE_ROOT}/build-${TCPZC_RDMA_CORE_RELEASE}")
set(TCPZC_PROVIDER "libtcpzc-rdmav${TCPZC_RDMA_CORE_PABI}.so")
message(STATUS "rdma-core ${TCPZC_RDMA_CORE_RELEASE} (rdmav${TCPZC_RDMA_CORE_PABI}),"
  " installed libibverbs: ${SYSTEM_IBVERBS_STAMP}")

ExternalProject_Add(rdma-core
  SOURCE_DIR "${TCPZC_RDMA_CORE_SOURCE}"
  BINARY_DIR "${TCPZC_RDMA_CORE_BUILD}"
  PREFIX "${RDMA_CORE_ROOT}"
  DOWNLOAD_COMMAND ""
  CMAKE_ARGS
    -DCMAKE_BUILD_TYPE=${CMAKE_BUILD_TYPE}
    -DCMAKE_C_COMPILER=${CMAKE_C_COMPILER}
    -DCMAKE_C_COMPILER_LAUNCHER=${CMAKE_C_COMPILER_LAUNCHER}
    -DCMAKE_BUILD_RPATH=$ORIGIN
    -DCMAKE_BUILD_RPATH_USE_ORIGIN=ON
    -DCMAKE_INSTALL_SYSCONFDIR=/etc
    -DCMAKE_INSTALL_RUNDIR=/run
    -DVERBS_PROVIDER_DIR=/dev/infiniband/tcpzc
    -DNO_PYVERBS=1 -DNO_MAN_PAGES=1
    -DTCPZC_SOURCE_DIR=${PROJECT_SOURCE_DIR}
    -DTCPZC_SANITIZE=${TCPZC_SANITIZE}
  BUILD_COMMAND "${CMAKE_COMMAND}" --build "${TCPZC_RDMA_CORE_BUILD}"
    --target ibverbs rdmacm tcpzc-rdmav${TCPZC_RDMA_CORE_PABI}
  BUILD_ALWAYS ON
  INSTALL_COMMAND "${CMAKE_COMMAND}"
    -DFROM=${TCPZC_RDMA_CORE_BUILD}/lib -DTO=${TCPZC_LIB}
    -DPROVIDER=${TCPZC_PROVIDER}
    -P "${PROJECT_SOURCE_DIR}/cmake/StageRdmaCore.cmake"
  BUILD_BYPRODUCTS
    "${TCPZC_LIB}/libibverbs.so.1"
    "${TCPZC_LIB}/librdmacm.so.1"
    "${TCPZC_LIB}/libibverbs/${TCPZC_PROVIDER}"
  USES_TERMINAL_CONFIGURE ON
  USES_TERMINAL_BUILD ON)

file(MAKE_DIRECTORY "${TCPZC_RDMA_CORE_BUILD}/include")
foreach(NAME ibverbs rdmacm)
  add_library(tcpzc_${NAME} SHARED IMPORTED GLOBAL)
  set_target_properties(tcpzc_${NAME} PROPERTIES
    IMPORTED_LOCATION "${TCPZC_LIB}/lib${NAME}.so.1"
    IMPORTED_SONAME "lib${NAME}.so.1"
    INTERFACE_INCLUDE_DIRECTORIES "${TCPZC_RDMA_CORE_BUILD}/include")
  add_dependencies(tcpzc_${NAME} rdma-core)
endforeach()
target_link_libraries(tcpzc_rdmacm INTERFACE tcpzc_ibverbs)
