{
  "targets": [
    {
      "target_name": "pmem_napi",
      "sources": [
        "src/module.c",
        "src/arguments.c",
        "src/file.c",
        "src/file-binding.c",
        "src/filesystem.c",
        "src/region.c",
        "src/region-binding.c",
        "src/geometry.c",
        "src/line.c",
        "src/program.c",
        "src/execute.c",
        "src/view.c",
        "src/scan.c",
        "src/memory.c",
        "src/flush.c",
        "src/crc32c.c",
        "src/inet-sum.c"
      ],
      "defines": ["NAPI_VERSION=9", "_GNU_SOURCE"],
      "cflags": ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wshadow", "-Wvla", "-fvisibility=hidden"]
    }
  ]
}
