#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Tests the image reader: builds the test programs, makes images in every way that mksquashfs offers, and compares what the reader
# and the extraction give with what unsquashfs gives. As root. Usage: run.sh [quick]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/dev/shm}/bundler-native-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
failed=0
bad() { echo "not ok: $*"; failed=1; }

common="-std=gnu17 -D_GNU_SOURCE -I$root/native -Wall -Wextra -Werror"
sources="fault sha256 lzo block_cache object_cache decompress image image_file image_inode image_dir image_data image_xattr image_resolve
  extract extract_tree extract_file extract_meta extract_measure extract_seen remove_tree"
libraries='-lsquashfs -lzstd -llz4 -llzma -lz -lpthread'
files=$(for s in $sources; do echo "$root/native/$s.c"; done)
mkdir "$work/plain" "$work/asan"
# shellcheck disable=SC2086
(cd "$work/plain" && gcc $common -O2 -c $files)
# shellcheck disable=SC2086
(cd "$work/asan" && clang $common -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -c $files)
for program in dump-image extract-image damage-image hash-file; do
  # shellcheck disable=SC2086
  gcc $common -O2 "$here/$program.c" "$work"/plain/*.o -o "$work/$program" $libraries
  # shellcheck disable=SC2086
  clang $common -g -O1 -fsanitize=address,undefined "$here/$program.c" "$work"/asan/*.o -o "$work/$program.asan" $libraries
done

# SHA-256: both implementations against sha256sum, at sizes around a block.
# shellcheck disable=SC2086
gcc $common -O2 -DSHA256_SCALAR "$root/native/sha256.c" "$here/hash-file.c" -o "$work/hash-scalar"
for size in 0 1 55 56 57 63 64 65 119 120 127 128 1000 65536 3000001; do
  head -c $size /dev/urandom > "$work/data"
  want=$(sha256sum < "$work/data" | cut -d' ' -f1)
  for program in hash-file hash-file.asan hash-scalar; do
    [ "$("$work/$program" "$work/data")" = "$want" ] || bad "sha256 of $size bytes by $program"
  done
done

sh "$here/make-tree.sh" "$work/tree"
mkdir "$work/nothing"

# Compares one image with unsquashfs' result, read and extracted, plainly and under the sanitizers.
check() {
  name=$1
  unsquashfs -quiet -no-progress -d "$work/oracle" "$work/image" > "$work/log" 2>&1 || bad "$name: unsquashfs: $(tail -1 "$work/log")"
  python3 "$here/dump-tree.py" "$work/oracle" > "$work/want"
  rm -rf "$work/oracle"
  for program in dump-image dump-image.asan; do
    "$work/$program" "$work/image" 0 2 > "$work/got" 2> "$work/log" || bad "$name: $program: $(head -3 "$work/log")"
    cmp -s "$work/want" "$work/got" || bad "$name: $program differs: $(diff "$work/want" "$work/got" | head -2)"
  done
  for program in extract-image extract-image.asan; do
    "$work/$program" -o "$work/image" "$work/out" > "$work/log" 2>&1 || bad "$name: $program: $(head -3 "$work/log")"
    python3 "$here/dump-tree.py" "$work/out" > "$work/got"
    cmp -s "$work/want" "$work/got" || bad "$name: $program differs: $(diff "$work/want" "$work/got" | head -2)"
    "$work/$program" -r "$work/out" || bad "$name: $program -r"
    [ ! -e "$work/out" ] || bad "$name: $program -r left something"
  done
  echo "$name: $(wc -l < "$work/want") entries, $(stat -c %s "$work/image") bytes"
}

make_image() {
  rm -f "$work/image"
  mksquashfs "$1" "$work/image" -noappend -quiet -no-progress $2 > "$work/log" 2>&1 || bad "mksquashfs $2: $(tail -1 "$work/log")"
}

variants='gzip|-comp gzip
lzma|-comp lzma
lzo|-comp lzo
xz|-comp xz
lz4|-comp lz4
zstd|-comp zstd'
[ "${1:-}" = quick ] || variants="$variants
gzip-window|-comp gzip -Xwindow-size 8 -Xstrategy huffman_only,run_length_encoded -b 4096
lzo-1|-comp lzo -Xalgorithm lzo1x_1 -b 1M
lzo-1-15|-comp lzo -Xalgorithm lzo1x_1_15 -b 64K
xz-x86|-comp xz -Xbcj x86 -b 256K
xz-dict|-comp xz -Xdict-size 100% -Xbcj x86,arm,powerpc -b 1M
lz4-hc|-comp lz4 -Xhc -b 1M
zstd-4k|-comp zstd -b 4K
zstd-1m|-comp zstd -b 1M -Xcompression-level 1
no-fragments|-comp zstd -no-fragments
always-fragments|-comp zstd -always-use-fragments
tailends|-comp gzip -tailends -b 16K
stored|-comp zstd -noI -noD -noF -noX
stored-data|-comp lzo -noD
stored-meta|-comp lz4 -noI -noX
stored-fragments|-comp gzip -noF
no-xattrs|-comp zstd -no-xattrs
no-exports|-comp zstd -no-exports -no-duplicates
no-sparse|-comp lz4 -no-sparse
all-root|-comp zstd -all-root -all-time 1700000000
no-hardlinks|-comp zstd -no-hardlinks"

echo "$variants" | while IFS='|' read -r name options; do
  make_image "$work/tree" "$options"
  check "$name" < /dev/null
  [ $failed = 0 ] || exit 1
done || failed=1
make_image "$work/nothing" '-comp zstd'
check empty

# As an ordinary user: what may be made is made, the rest is counted.
make_image "$work/tree" '-comp zstd'
chmod 711 "$work"
mkdir "$work/mine"
chown 4242:4242 "$work/mine"
user='setpriv --reuid 4242 --regid 4242 --clear-groups'
(umask 077; $user "$work/extract-image" "$work/image" "$work/mine/out") > "$work/log" || bad "extraction by an ordinary user: $(cat "$work/log")"
unsquashfs -quiet -no-progress -d "$work/oracle" "$work/image" > /dev/null
for dir in oracle mine/out; do
  python3 "$here/dump-tree.py" --no-owner --no-special "$work/$dir" > "$work/$(basename $dir).txt"
done
cmp -s "$work/oracle.txt" "$work/out.txt" || bad "extraction by an ordinary user differs: $(diff "$work/oracle.txt" "$work/out.txt" | head -4)"
grep -q 'skipped-devices=3' "$work/log" || bad "skipped devices: $(cat "$work/log")"
$user "$work/extract-image" -r "$work/mine/out" || bad 'removal of read-only directories by an ordinary user'
[ ! -e "$work/mine/out" ] || bad 'removal by an ordinary user left something'
rm -rf "$work/oracle"

# A full disk is named, with what is needed.
mkdir "$work/small"
mount -t tmpfs -o size=8m,mode=777 none "$work/small"
if "$work/extract-image.asan" "$work/image" "$work/small/out" > "$work/log" 2>&1; then bad 'a full disk went unnoticed'; fi
grep -q 'No space left' "$work/log" && grep -q 'bytes free' "$work/log" || bad "message for a full disk: $(cat "$work/log")"
umount "$work/small"

# remove_tree stops at mounts and does not follow links.
mkdir -p "$work/gone/a/mount" "$work/kept"
echo kept > "$work/kept/file"
ln -s "$work/kept" "$work/gone/link"
mount --bind "$work/kept" "$work/gone/a/mount"
if "$work/extract-image" -r "$work/gone" 2> "$work/log"; then bad 'a mount point was removed'; fi
umount "$work/gone/a/mount"
[ -e "$work/kept/file" ] || bad 'remove_tree left its file system'
"$work/extract-image.asan" -r "$work/gone" || bad 'removal after the unmount'

# A tree deeper than remove_tree goes with descriptors.
python3 - "$work/abyss" <<'END'
import os, sys
os.mkdir(sys.argv[1]); os.chdir(sys.argv[1])
for i in range(3000):
    os.mkdir('d'); os.chdir('d'); open('f', 'w').close()
END
(ulimit -n 300; "$work/extract-image" -r "$work/abyss") || bad 'removal of a deep tree'
[ ! -e "$work/abyss" ] || bad 'removal of a deep tree left something'

# Damage anywhere is an error or unnoticed, never a crash, a hang or a leak.
mkdir "$work/few"
cp -a "$work/tree/attrs" "$work/tree/links" "$work/tree/special" "$work/tree/names" "$work/few"
cp "$work/tree/sizes/131073" "$work/tree/sizes/4097" "$work/tree/sparse/middle" "$work/few"
for comp in gzip lzma lzo xz lz4 zstd 'zstd -noI -noX'; do
  make_image "$work/few" "-comp $comp -b 4K"
  timeout 300 "$work/damage-image.asan" "$work/image" "${DAMAGE_ROUNDS:-400}" > "$work/log" 2>&1 || bad "damage, $comp: $(tail -30 "$work/log")"
  echo "damage $comp: $(tail -1 "$work/log")"
done
[ $failed = 0 ] && echo 'all ok'
exit $failed
