#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints a directory as dump-image.c prints an image. Options: --no-owner --no-special --no-xattr, for what an ordinary user cannot restore."""
import hashlib, os, stat, sys

flags = {a for a in sys.argv[1:] if a.startswith('--')}
root = os.fsencode([a for a in sys.argv[1:] if not a.startswith('--')][0])

def escape(data):
    return ''.join(chr(c) if 32 < c < 127 and c != 92 else '\\x%02x' % c for c in data)

def digest(path):
    h = hashlib.sha256()
    with open(path, 'rb') as f:
        while chunk := f.read(1 << 20):
            h.update(chunk)
    return h.hexdigest()

def show(path, name):
    s = os.lstat(path)
    m = s.st_mode
    special = not (stat.S_ISDIR(m) or stat.S_ISREG(m) or stat.S_ISLNK(m))
    if special and '--no-special' in flags:
        return
    owner = '-' if '--no-owner' in flags else f'{s.st_uid}:{s.st_gid}'
    line = f'{escape(name)} {m:o} {owner} {int(s.st_mtime)}'
    if stat.S_ISDIR(m):
        line += ' dir'
    elif stat.S_ISLNK(m):
        line += f' links={s.st_nlink} -> {escape(os.readlink(path))}'
    elif stat.S_ISREG(m):
        line += f' links={s.st_nlink} size={s.st_size} {digest(path)}'
    else:
        line += f' links={s.st_nlink}'
        if stat.S_ISBLK(m) or stat.S_ISCHR(m):
            line += f' {os.major(s.st_rdev)}:{os.minor(s.st_rdev)}'
    if '--no-xattr' not in flags:
        found = []
        for key in os.listxattr(path, follow_symlinks=False):
            value = os.getxattr(path, key, follow_symlinks=False)
            found.append(f'{key}={len(value)}:{hashlib.sha256(value).hexdigest()[:8]}')
        for text in sorted(found):
            line += ' ' + escape(text.encode('utf-8', 'surrogateescape'))
    print(line)
    if stat.S_ISDIR(m):
        for child in sorted(os.listdir(path)):
            show(path + b'/' + child, name + b'/' + child)

show(root, b'')
