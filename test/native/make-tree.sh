#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes a directory with one of everything that squashfs can store. Usage (as root): make-tree.sh DIR
set -eu
umask 022
mkdir "$1"
cd "$1"
mkdir plain many names 'odd dir' readonly sparse links attrs special sizes deep empty
head -c 1200000 /dev/urandom > plain/random
seq 1 630000 > plain/text   # more than 4 MiB: extraction cuts such a file into pieces
cp /bin/busybox plain/program 2>/dev/null || cp /bin/ls plain/program
: > plain/nothing
for n in 1 4095 4096 4097 8192 65535 65536 65537 131071 131072 131073 262144 1048576 1048577; do
  head -c "$n" plain/text > "sizes/$n"
done
i=0
while [ $i -lt 3000 ]; do echo $i; i=$((i + 1)); done | (cd many && split -l 1 -a 5 - entry-)
long=$(printf '%0200d' 7)
echo long > "names/$long"
echo longest > "names/$(printf '%0255d' 8)"
printf 'odd' > "names/$(printf 'tab\ttab')"
printf 'odd' > "names/$(printf 'latin\351')"
printf 'odd' > "names/$(printf 'new\nline')"
printf 'odd' > 'names/-rf'
printf 'odd' > 'names/...'
ln -s "../names/$long" "odd dir/a link"
ln -s /absolute/nowhere links/absolute
ln -s ../plain/text links/relative
ln -s "$(printf '%04000d' 0)" links/very-long
echo shared > links/one
ln links/one links/two
ln links/one 'odd dir/three'
ln plain/random links/random
ln links/absolute links/absolute-too
truncate -s 5000000 sparse/all
truncate -s 3000000 sparse/middle
printf begin | dd of=sparse/middle conv=notrunc 2>/dev/null
printf end | dd of=sparse/middle bs=1 seek=2500000 conv=notrunc 2>/dev/null
truncate -s 20000000 sparse/huge
printf x | dd of=sparse/huge bs=1 seek=10000000 conv=notrunc 2>/dev/null
mkdir attrs/dir
for n in few large large-too; do echo "$n" > attrs/$n; done
python3 - <<'END'
import os
large = bytes(range(256)) * 8   # an inode's attributes share one 4 KiB block on ext4
os.setxattr('attrs/few', 'user.comment', b'a few words')
os.setxattr('attrs/few', 'user.empty', b'')
os.setxattr('attrs/few', 'user.binary', b'\0\xff\0\xfe\0')
os.setxattr('attrs/large', 'user.large', large)
os.setxattr('attrs/large-too', 'user.a', b'1')
os.setxattr('attrs/large-too', 'user.large', large)
os.setxattr('attrs/large-too', 'user.z', b'2')
os.setxattr('attrs/dir', 'user.dir', b'yes')
END
mkfifo special/fifo
mknod special/null c 1 3
mknod special/loop b 7 300
mknod special/large c 511 70000
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("special/socket")'
echo secret > readonly/file
chmod 0400 readonly/file
cp plain/program readonly/setuid
chmod 6755 readonly/setuid
mkdir readonly/inner
echo x > readonly/inner/x
chmod 0555 readonly/inner
chmod 1777 empty
d=deep
i=0
while [ $i -lt 60 ]; do d=$d/level$i; mkdir "$d"; i=$((i + 1)); done
echo bottom > "$d/file"
chown 1000:2000 plain/text names/-rf
chown -h 3000000000:42 links/relative
touch -d '2001-02-03 04:05:06 UTC' plain/text readonly/file
touch -h -d '1999-12-31 23:59:59 UTC' links/relative
touch -d '2038-06-07 08:09:10 UTC' plain/nothing
chmod 0555 readonly
touch -d '2010-10-10 10:10:10 UTC' readonly readonly/inner empty
