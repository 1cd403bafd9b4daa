# Writes down what the extension says about itself. Slicer would fill a gap with a default; the catalogue wants them all.
set(_facts "NAME=${PROJECT_NAME}\n")
foreach(_name HOMEPAGE CATEGORY CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if("${EXTENSION_${_name}}" STREQUAL "")
    message(FATAL_ERROR "EXTENSION_${_name} is not set")
  endif()
  # Slicer hands the values on without quotes: of a text with a semicolon only the first part would arrive.
  if("${EXTENSION_${_name}}" MATCHES ";")
    message(FATAL_ERROR "EXTENSION_${_name} has a semicolon in it")
  endif()
  string(APPEND _facts "${_name}=${EXTENSION_${_name}}\n")
endforeach()
file(WRITE "${CMAKE_BINARY_DIR}/extension.txt" "${_facts}")
