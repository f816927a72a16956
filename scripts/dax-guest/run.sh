#!/usr/bin/env bash
# The class `dax` on an emulated NVDIMM: a virtual machine with ext4 on persistent memory, mapped with MAP_SYNC, that is
# switched off in the middle of writes, several times. What was acknowledged before is there after each start.
#
#   scripts/dax-guest/run.sh --kernel vmlinuz --modules DIRECTORY [--rounds N]
#
# vmlinuz and the directory of its modules are those of a Debian kernel: apt-get download linux-image-6.1.0-NN-amd64, then
# dpkg-deb -x FILE.deb kernel, which gives kernel/boot/vmlinuz-* and kernel/lib/modules/*. Needs qemu-system-x86_64,
# busybox (static), cpio, mkfs.ext4. Not part of the tests.
#
# What it shows: MAP_SYNC succeeds, the class is chosen with its evidence, the flushes run, recovery finds everything. What it cannot
# show: a flush left out. The emulated memory is the host's page cache, which keeps every store, flushed or not.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
rounds=3
kernel= modules=
while [ $# -gt 0 ]; do
  case "$1" in
    --kernel) kernel=$2; shift 2 ;;
    --modules) modules=$2; shift 2 ;;
    --rounds) rounds=$2; shift 2 ;;
    *) sed -n '2,13p' "$0" >&2; exit 2 ;;
  esac
done
[ -f "$kernel" ] && [ -d "$modules" ] || { sed -n '2,13p' "$0" >&2; exit 2; }
for program in qemu-system-x86_64 busybox cpio mkfs.ext4 node; do
  command -v $program > /dev/null || { echo "dax-guest: $program is not installed" >&2; exit 3; }
done
[ -e "$root/dist/storage/region.js" ] || { echo 'dax-guest: run npm run build first' >&2; exit 3; }

work=$(mktemp -d)
pid=
end() {
  [ -z "$pid" ] || kill -9 "$pid" 2> /dev/null || true
  rm -rf "$work"
}
trap end EXIT
guest=$work/guest
mkdir -p "$guest"/{bin,modules,packrat/node_modules/@pm-kit,packrat/storage,packrat/scripts}
cp "$(command -v busybox)" "$guest/bin/busybox"
cp "$here/init" "$guest/init"
for module in libnvdimm nfit nd_btt nd_pmem crc16 crc32c_generic mbcache jbd2 ext4; do
  found=$(find "$modules" -name "$module.ko" | head -1)
  [ -z "$found" ] || cp "$found" "$guest/modules/"
done
# Programs with the libraries that they are linked with, at the same places.
for program in node mkfs.ext4; do
  path=$(readlink -f "$(command -v $program)")
  cp "$path" "$guest/bin/$program"
  ldd "$path" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$guest$(dirname "$library")"
    cp -L "$library" "$guest$library"
  done
done
cp -r "$root/dist" "$root/package.json" "$guest/packrat/"
cp -r "$here" "$guest/packrat/scripts/"
mkdir -p "$guest/packrat/storage/pmem-napi/build"
cp "$root"/storage/pmem-napi/{package.json,index.js} "$guest/packrat/storage/pmem-napi/"
cp -r "$root/storage/pmem-napi/build/Release" "$guest/packrat/storage/pmem-napi/build/"
ln -s ../../storage/pmem-napi "$guest/packrat/node_modules/@pm-kit/pmem-napi"
rm -rf "$guest/packrat/dist/test"
(cd "$guest" && find . | cpio --quiet -o -H newc | gzip -1) > "$work/initrd"
truncate -s 128M "$work/nvdimm"

# KVM where it works; inside another virtual machine it often does not. 124: still running after 5 s.
accelerator=tcg
status=0
if [ -w /dev/kvm ]; then
  (timeout 5 qemu-system-x86_64 -accel kvm -cpu max -display none -monitor none -serial none) 2> /dev/null || status=$?
  [ $status = 124 ] && accelerator=kvm
fi
acknowledged=-1
for round in $(seq "$rounds"); do
  : > "$work/console"
  qemu-system-x86_64 -accel "$accelerator" -cpu max -machine q35,nvdimm=on -smp 1 -m 1G,slots=2,maxmem=4G \
    -object memory-backend-file,id=nv,share=on,mem-path="$work/nvdimm",size=128M -device nvdimm,id=nv0,memdev=nv \
    -kernel "$kernel" -initrd "$work/initrd" -append 'console=ttyS0 quiet panic=1' \
    -display none -monitor none -serial "file:$work/console" -no-reboot &
  pid=$!
  for wait in $(seq 2800); do
    [ "$(grep -ac 'acknowledged' "$work/console")" -gt $((5 + round * 7)) ] && break
    kill -0 $pid 2>/dev/null || break
    sleep 0.1
  done
  kill -9 $pid 2>/dev/null || true # the power goes
  wait $pid 2>/dev/null || true
  pid=
  # The firmware writes to the same console, without ends of lines.
  said=$(tr -d '\r' < "$work/console" | grep -ao 'guest: .*\|acknowledged [0-9]*' || true)
  grep '^guest' <<< "$said" || true
  newest=$(sed -n 's/^guest: newest //p' <<< "$said")
  last=$(sed -n 's/^acknowledged //p' <<< "$said" | tail -1)
  failure=
  if [ -z "$newest" ] || [ "$newest" -lt "$acknowledged" ]; then
    failure="newest is ${newest:-unknown}, $acknowledged was acknowledged before"
  elif grep -q 'WRONG' <<< "$said"; then
    failure='what was acknowledged is not all there'
  elif [ -z "$last" ]; then
    # Nothing can be lost of nothing.
    failure='nothing was acknowledged'
  fi
  if [ -n "$failure" ]; then
    echo "dax-guest: FAILED: $failure" >&2
    tail -20 "$work/console" >&2
    exit 1
  fi
  acknowledged=$last
  echo "round $round: switched off after $acknowledged was acknowledged"
done
echo "dax-guest: $rounds rounds ($accelerator), nothing acknowledged was lost"
