# Install rules and the package config. One export set per component: find_package(smartcache COMPONENTS json) must not
# define targets whose dependencies nobody looked for.
include(CMakePackageConfigHelpers)

# No machine code is installed, so the package serves every architecture.
set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/smartcache")

foreach(part IN ITEMS core ${SMARTCACHE_FOUND_COMPONENTS})
  if(part STREQUAL "core")
    install(TARGETS smartcache EXPORT smartcache-core FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
  else()
    install(TARGETS smartcache_${part} EXPORT smartcache-${part})
  endif()
  install(EXPORT smartcache-${part} NAMESPACE smartcache:: DESTINATION "${package_dir}")
endforeach()

configure_package_config_file(cmake/smartcache-config.cmake.in "${PROJECT_BINARY_DIR}/smartcache-config.cmake"
                              INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/smartcache-config-version.cmake"
                                 COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/smartcache-config.cmake" "${PROJECT_BINARY_DIR}/smartcache-config-version.cmake"
              cmake/SmartcacheComponents.cmake DESTINATION "${package_dir}")
install(DIRECTORY cmake/modules DESTINATION "${package_dir}")
