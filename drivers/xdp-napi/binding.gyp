{
  "targets": [
    {
      "target_name": "xdp_napi",
      "sources": [
        "src/module.c",
        "src/binding.c",
        "src/socket-binding.c",
        "src/program-binding.c",
        "src/interface.c",
        "src/umem.c",
        "src/socket.c",
        "src/program.c",
        "src/readiness.c"
      ],
      "defines": ["NAPI_VERSION=9"],
      "cflags": ["-std=gnu11", "-O3", "-Wall", "-Wextra"]
    }
  ]
}
