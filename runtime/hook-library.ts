// SPDX-License-Identifier: Apache-2.0
import type { Bytes } from '../src/format/bytes.ts';

/**
 * What hooks written for enroot find as ${ENROOT_LIBRARY_PATH}/common.sh: bash functions by the names that enroot's have, for hosts
 * without enroot. Only those that a hook may call; importing is not a hook's business.
 */
export const commonLibrary: Bytes = String.raw`# SPDX-License-Identifier: Apache-2.0
# The functions that enroot's hooks use, by bundler.
[ -z "\${_BUNDLER_COMMON-}" ] || return 0
_BUNDLER_COMMON=1

common::fmt() { printf %s "$2"; }

# LEVEL TEXT: a line on stderr; TEXT "-" takes lines from stdin.
common::log() {
  local text
  [ -n "\${2-}" ] || return 0
  if [ "$2" = - ]; then
    while IFS= read -r text; do printf '[%s] %s\n' "$1" "$text" >&2; done
  else
    printf '[%s] %b\n' "$1" "$2" >&2
  fi
}

common::err() {
  common::log ERROR "$1"
  exit 1
}

common::checkcmd() {
  local name
  for name; do command -v "$name" > /dev/null || common::err "Command not found: $name"; done
}

common::chdir() { cd "$1" 2> /dev/null || common::err "Could not change directory: $1"; }
common::read() { read "$@" || :; }
common::readstrarray() { [ -z "$2" ] || readarray -t "$1" <<< "$2"; }
common::realpath() { readlink -f "$1" 2> /dev/null || common::err "No such file or directory: $1"; }
common::mktmpdir() (
  umask 077
  mktemp -d -p "\${ENROOT_TEMP_PATH:-\${TMPDIR:-/tmp}}" "$1.XXXXXXXXXX"
)

common::rmall() {
  rm -rf --one-file-system -- "$1" 2> /dev/null && return
  chmod -f -R u+rwX "$1" || :
  rm -rf --one-file-system -- "$1"
}

# FILE with every \${NAME} filled in.
common::envsubst() {
  local line out name pattern='\$\{([A-Za-z_][A-Za-z0-9_]*)\}'
  [ -f "$1" ] || return 0
  while IFS= read -r line || [ -n "$line" ]; do
    out=
    while [[ $line =~ $pattern ]]; do
      out+=\${line%%"\${BASH_REMATCH[0]}"*}
      line=\${line#*"\${BASH_REMATCH[0]}"}
      name=\${BASH_REMATCH[1]}
      out+=\${!name-}
    done
    printf '%s\n' "$out$line"
  done < "$1"
}

# Rewrites FILE: lines NAME=.. only, without blanks in front and one pair of quotes.
common::envfmt() {
  local line lines= name='^[[:space:]]*([A-Za-z_][A-Za-z0-9_]*)=(.*)$' quoted='^["'"'"'](.*)["'"'"'][[:space:]]*$' key value
  while IFS= read -r line || [ -n "$line" ]; do
    [[ $line =~ $name ]] || continue
    key=\${BASH_REMATCH[1]} value=\${BASH_REMATCH[2]}
    [[ $key == ENROOT_* ]] && continue
    [[ $value =~ $quoted ]] && value=\${BASH_REMATCH[1]}
    lines+="$key=$value"$'\n'
  done < "$1"
  printf %s "$lines" > "$1"
}

# list|exec SUFFIX DIRECTORY
common::runparts() {
  local file
  for file in "$3"/*"$2"; do
    [ -e "$file" ] || continue
    if [ "$1" = list ]; then
      printf '%s\n' "$file"
    elif [ -x "$file" ]; then
      "$file" || common::err "$file exited with return code $?"
    fi
  done
}

common::fixperms() {
  chmod -f -R u+rX "$1" || :
  find "$1" -maxdepth 15 -type d ! -perm -u=w -exec chmod -f u+w {} + || :
}

# The database's line of the user (of the group) that is mapped.
_bundler_entry() {
  local id
  read -r _ id _ < "/proc/self/$2"
  if command -v getent > /dev/null; then getent "$1" "$id"; else grep -m 1 "^[^:]*:[^:]*:$id:" "/etc/$1"; fi
}
common::getpwent() { _bundler_entry passwd uid_map; }
common::getgrent() { _bundler_entry group gid_map; }

common::debarch() {
  case "$1" in
  x86_64) printf amd64 ;;
  aarch64) printf arm64 ;;
  ppc64le) printf ppc64le ;;
  *) common::err "Unsupported architecture: $1" ;;
  esac
}

# The mount point that a path lies on.
common::mountpoint() {
  local path
  path=$(common::realpath "$1")
  until mountpoint -q "\${path:-/}"; do path=\${path%/*}; done
  printf %s "\${path:-/}"
}
`.replaceAll('\\${', '${');
