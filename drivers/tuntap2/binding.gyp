{
  "targets": [
    {
      "target_name": "tuntap2",
      "sources": [
        "src/module.c",
        "src/binding.c",
        "src/tap-binding.c",
        "src/interface-binding.c",
        "src/interface.c",
        "src/memory.c",
        "src/burst.c",
        "src/offload.c",
        "src/readiness.c",
        "src/steering.c",
        "src/inet-sum.c"
      ],
      "defines": ["NAPI_VERSION=9"],
      "cflags": ["-std=gnu11", "-O3", "-Wall", "-Wextra"]
    }
  ]
}
