# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# Copies what was built in the rdma-core overlay to where tcpzc-run looks for
# it. Unchanged files keep their time, so that nothing that depends on them is
# built again.

foreach(NAME ibverbs rdmacm)
  # Exactly the library and its soname link: a directory on a program's
  # LD_LIBRARY_PATH should hold nothing else.
  get_filename_component(FILE "${FROM}/lib${NAME}.so.1" REALPATH)
  get_filename_component(FILE_NAME "${FILE}" NAME)
  file(GLOB OLD "${TO}/lib${NAME}.so*")
  list(REMOVE_ITEM OLD "${TO}/${FILE_NAME}" "${TO}/lib${NAME}.so.1")
  if(OLD)
    file(REMOVE ${OLD})
  endif()
  file(COPY "${FILE}" DESTINATION "${TO}")
  file(CREATE_LINK "${FILE_NAME}" "${TO}/lib${NAME}.so.1" SYMBOLIC)
endforeach()

file(GLOB OLD "${TO}/libibverbs/libtcpzc-rdmav*.so")
list(REMOVE_ITEM OLD "${TO}/libibverbs/${PROVIDER}")
if(OLD)
  file(REMOVE ${OLD})
endif()
file(COPY "${FROM}/${PROVIDER}" DESTINATION "${TO}/libibverbs")
