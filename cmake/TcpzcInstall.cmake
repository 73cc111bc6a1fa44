# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# The installed layout mirrors the build tree's, below lib/tcpzc: tcpzc-run finds
# everything relative to itself, so a staged or moved prefix works.

set(PRIVATE "${CMAKE_INSTALL_LIBDIR}/tcpzc")

if(TARGET tcpzc-run)
install(TARGETS tcpzc-run RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
install(TARGETS tcpzc-preload tcpzc-cm LIBRARY DESTINATION "${PRIVATE}")
endif()
install(DIRECTORY "${TCPZC_LIB}/" DESTINATION "${PRIVATE}"
  FILES_MATCHING
  PATTERN "libibverbs.so.1*"
  PATTERN "librdmacm.so.1*"
  PATTERN "${TCPZC_PROVIDER}")

# Where the system's libibverbs looks for providers: only one of its own release
# may go there.
if(TCPZC_RDMA_CORE_RELEASE STREQUAL TCPZC_SYSTEM_RELEASE)
  set(MATCHES ON)
else()
  set(MATCHES OFF)
endif()
option(TCPZC_INSTALL_PROVIDER
  "Install the provider for the system's libibverbs" ${MATCHES})
if(TCPZC_INSTALL_PROVIDER)
  install(PROGRAMS "${TCPZC_LIB}/libibverbs/${TCPZC_PROVIDER}"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}/libibverbs")
  install(FILES "${PROJECT_SOURCE_DIR}/providers/tcpzc/tcpzc.driver"
    DESTINATION "${CMAKE_INSTALL_FULL_SYSCONFDIR}/libibverbs.d")
else()
  message(STATUS "Provider is for rdma-core ${TCPZC_RDMA_CORE_RELEASE}, the "
    "installed libibverbs is ${SYSTEM_IBVERBS_STAMP}: \"install\" gives it to "
    "tcpzc-run only")
endif()

file(GLOB MAN1 "${PROJECT_SOURCE_DIR}/providers/tcpzc/man/*.1")
file(GLOB MAN7 "${PROJECT_SOURCE_DIR}/providers/tcpzc/man/*.7")
install(FILES ${MAN1} DESTINATION "${CMAKE_INSTALL_MANDIR}/man1")
install(FILES ${MAN7} DESTINATION "${CMAKE_INSTALL_MANDIR}/man7")
install(FILES COPYING.md COPYING.GPL2 COPYING.BSD_MIT
  DESTINATION "${CMAKE_INSTALL_DOCDIR}")
