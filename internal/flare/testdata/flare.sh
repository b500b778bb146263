#!/usr/bin/env bash
# The flare a second time: docs/FLARE.md with age (1.3), tar, zstd, ssh-keygen and jq.
#
#   IDENTITIES=recovery.key SIGNERS=allowed_signers REVOKED=revoked AUDIENCE=acme-prod \
#     flare.sh open ID LAST_MODIFIED FILE FOLDER
# verifies FILE, stored as ID at LAST_MODIFIED, writes its files to FOLDER (which must
# exist) and prints "good PRINCIPAL"; or prints "bad REASON: ..." or "not-now REASON: ..."
# and exits with 3 or 4. Memory of ids taken before is up to the caller.
#
#   RECIPIENTS=recipients.txt KEY=agent_ed25519 flare.sh seal FOLDER FILE
# makes FILE of FOLDER/manifest.json and the records it names. What follows from the
# records (type, size, sha256, raw_size, totals) is filled in.
set -euo pipefail
export LC_ALL=C TZ=UTC
namespace=flare@lifeline
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

refuse() { # class reason text
  echo "$1 $2: ${*:3}"
  [ "$1" = bad ] && exit 3
  exit 4
}
size() { stat -c %s "$1"; }
hex() { od -An -v -tx1 "$@" | tr -d ' \n'; }
text() { printf %s "$1" | hex; }

header() { # name size -> $work/header
  {
    printf %s "$1"
    head -c $((100 - ${#1})) /dev/zero
    printf '%s\0' 0000644 0000000 0000000 "$(printf %011o "$2")" 00000000000
    printf '        0'
    head -c 100 /dev/zero
    printf 'ustar\0'
    printf 00
    head -c 64 /dev/zero
    printf '%s\0' 0000000 0000000
    head -c 167 /dev/zero
  } >"$work/header"
  local sum
  sum=$(od -An -v -tu1 "$work/header" | awk '{for (i = 1; i <= NF; i++) s += $i} END {print s}')
  printf '%06o\0 ' "$sum" | dd of="$work/header" bs=1 seek=148 conv=notrunc status=none
}

padme() { # bytes -> the size they are padded to
  local e=0 s=0 n
  n=$1
  while ((n >>= 1)); do ((++e)); done
  n=$e
  while ((n)); do ((++s, n >>= 1)) || true; done
  echo $((($1 + (1 << (e - s)) - 1) >> (e - s) << (e - s)))
}

# entry NAME LIMIT [SIZE] reads the entry at $at of the plaintext into $work/out/NAME.
at=0
entry() {
  local n=${3:-} octal
  dd if="$work/plain" of="$work/block" bs=512 skip=$((at / 512)) count=1 status=none
  [ "$(size "$work/block")" = 512 ] || refuse bad malformed "the archive ends before $1"
  if [ -z "$n" ]; then
    octal=$(head -c 135 "$work/block" | tail -c 11 | tr -c 0-7 x)
    [[ $octal =~ ^[0-7]{11}$ ]] || refuse bad malformed "size of $1"
    n=$((8#$octal))
  fi
  header "$1" "$n"
  cmp -s "$work/block" "$work/header" || refuse bad malformed "header of $1"
  ((n <= $2)) || refuse bad malformed "$1 has $n bytes"
  local blocks=$(((n + 511) / 512))
  ((at + 512 + blocks * 512 <= $(size "$work/plain"))) || refuse bad malformed "the archive ends in $1"
  dd if="$work/plain" of="$work/out/$1" bs=512 skip=$((at / 512 + 1)) count=$blocks status=none
  [ -z "$(tail -c +$((n + 1)) "$work/out/$1" | tr -d '\0' | od -An -tx1)" ] || refuse bad malformed "what fills $1"
  truncate -s "$n" "$work/out/$1"
  ((at += 512 + blocks * 512))
}

check_age_header() { # file
  head -c 65536 "$1" >"$work/head"
  local end n=0 line
  end=$(grep -a -n -m 1 '^---' "$work/head" | cut -d : -f 1) || refuse bad malformed "the age header has no end"
  head -n "$end" "$work/head" >"$work/stanzas"
  [ "$(head -n 1 "$work/stanzas" | tr '\0' ?)" = age-encryption.org/v1 ] || refuse bad malformed "not an age file"
  while IFS= read -r line; do
    case $line in
      '-> X25519 '* | '-> mlkem768x25519 '*) ((++n <= 16)) || refuse bad malformed "more than 16 recipients" ;;
      '->'*) refuse bad malformed "a foreign kind of recipient" ;;
    esac
  done < <(tr '\0' ? <"$work/stanzas")
}

check_signature() { # sets $fingerprint, and $cert with $ca, $serial, $principal, $from, $to
  local sig=$work/out/manifest.json.sig blob=$work/blob all klen key rest want
  sed '1d;$d' "$sig" | base64 -d >"$blob" 2>/dev/null || refuse bad malformed "armor"
  { echo '-----BEGIN SSH SIGNATURE-----'; base64 -w 70 "$blob"; echo '-----END SSH SIGNATURE-----'; } |
    cmp -s - "$sig" || refuse bad malformed "armor"
  all=$(hex "$blob")
  [[ $all == "$(text SSHSIG)00000001"* ]] || refuse bad malformed "not SSHSIG version 1"
  klen=$((16#${all:20:8}))
  key=${all:28:klen*2}
  rest=${all:28+klen*2}
  want=0000000e$(text $namespace)0000000000000006$(text sha512)000000530000000b$(text ssh-ed25519)00000040
  [[ $rest == "$want"* && ${#rest} == $((${#want} + 128)) ]] || refuse bad malformed "not $namespace, SHA-512 and Ed25519"
  cert=
  case $key in
    0000000b"$(text ssh-ed25519)"00000020*) kind=ssh-ed25519 ;;
    00000020"$(text ssh-ed25519-cert-v01@openssh.com)"*) kind=ssh-ed25519-cert-v01@openssh.com cert=1 ;;
    *) refuse bad malformed "not an Ed25519 key" ;;
  esac
  base64=$(tail -c +15 "$blob" | head -c "$klen" | base64 -w 0)
  echo "$kind $base64" >"$work/key.pub"
  fingerprint=$(ssh-keygen -lf "$work/key.pub" 2>/dev/null | cut -d ' ' -f 2) || refuse bad signature "of the certificate"
  [ -z "$cert" ] || read_certificate
}

read_certificate() {
  ssh-keygen -Lf "$work/key.pub" >"$work/cert"
  ca=$(sed -n 's/^ *Signing CA: ED25519 \(SHA256:[^ ]*\).*/\1/p' "$work/cert")
  [ -n "$ca" ] || refuse bad malformed "the authority is not Ed25519"
  serial=$(sed -n 's/^ *Serial: //p' "$work/cert")
  principal=$(sed -n '/^ *Principals:/,/^ *Critical/p' "$work/cert" | sed '1d;$d;s/^ *//')
  read -r from to < <(sed -n 's/^ *Valid: from \(.*\) to \(.*\)/\1 \2/p' "$work/cert") || true
  grep -q 'Type: .* user certificate' "$work/cert" && grep -q 'Critical Options: (none)' "$work/cert" &&
    [[ $principal =~ ^[]!-~[]+$ && ! $principal =~ [*?!,#\"\\] && ${#principal} -le 128 ]] ||
    refuse not-now unknown_signer "a certificate that leaves a choice"
}

revoked() { [ -n "${REVOKED:-}" ] && grep -qxF -e "$1" "$REVOKED"; }

verify_at() { # time as YYYY-MM-DDTHH:MM:SS; does ssh-keygen trust the signature?
  ssh-keygen -Y verify -f "$SIGNERS" -I "$principal" -n $namespace -s "$work/out/manifest.json.sig" \
    -Overify-time="$(date -d "$1" +%Y%m%d%H%M%SZ)" <"$work/out/manifest.json" >"$work/log" 2>&1
}

check_trust() {
  ! revoked "$fingerprint" || refuse bad revoked "$fingerprint"
  local lines
  if [ -n "$cert" ]; then
    ! revoked "$ca" && ! revoked "serial:$serial $ca" || refuse bad revoked "serial $serial of $ca"
    ssh-keygen -Y find-principals -f "$SIGNERS" -s "$work/out/manifest.json.sig" \
      -Overify-time="$(date -d "${from:-now}" +%Y%m%d%H%M%SZ)" >"$work/log" 2>&1 || refuse not-now unknown_signer "authority $ca"
  else
    lines=$(grep -v '^ *#' "$SIGNERS" | grep -v cert-authority | grep -F -e " $base64") || refuse not-now unknown_signer "$fingerprint"
    principal=${lines%%[ 	]*}
  fi
  ! revoked "principal:$principal" || refuse bad revoked "$principal"
  ssh-keygen -Y check-novalidate -n $namespace -s "$work/out/manifest.json.sig" <"$work/out/manifest.json" >"$work/log" 2>&1 ||
    refuse bad signature "$(cat "$work/log")"
  [ -z "$cert" ] || verify_at "${from:-now}" || refuse bad signature "$(cat "$work/log")"
}

check_manifest() {
  local m=$work/out/manifest.json
  iconv -f utf-8 -t utf-8 "$m" >"$work/log" 2>&1 || refuse bad malformed "not UTF-8"
  jq -e -s 'length == 1 and (.[0] | type == "object")' "$m" >"$work/log" 2>&1 || refuse bad malformed "not one JSON object"
  # Every leaf and every end of a container, by its path: one that comes twice is a key that comes twice.
  jq -c --stream 'if length == 2 then .[0] else .[0][:-1] end' "$m" >"$work/paths"
  [ -z "$(sort "$work/paths" | uniq -d | head -c 1)" ] || refuse bad malformed "a key stands twice"
  jq -e -s 'all(.[]; length <= 16 and all(.[] | strings; test("\\A[ -@\\[-~]*\\z")))' "$work/paths" >"$work/log" ||
    refuse bad malformed "keys or nesting"
  jq -e 'all(..; (arrays | length > 16384), (objects | length > 1024) | not)' "$m" >"$work/log" || refuse bad malformed "too many elements"
  jq -e '.type | strings | test("\\Alifeline\\.flare/v[1-9]")' "$m" >"$work/log" || refuse bad malformed "type"
  jq -e '.type == "lifeline.flare/v1" and (.critical // [] | length == 0)' "$m" >"$work/log" || refuse not-now needs_newer "type or critical"
  jq -e -f "$here/manifest.jq" "$m" >"$work/log" 2>&1 || refuse bad malformed "a rule of the manifest: $(cat "$work/log")"
}

check_facts() { # id last-modified
  local m=$work/out/manifest.json created t stored
  created=$(jq -r .created "$m")
  [ -z "$cert" ] || [ -z "${from:-}" ] || [[ ! ${created%.*} < $from && ${created%.*} < $to ]] || refuse not-now expired_certificate "$from to $to"
  verify_at "${created%.*}" || refuse not-now expired_certificate "$(cat "$work/log")"
  jq -e --arg own "${AUDIENCE:-}" '$own == "" or (.audience // "") == "" or .audience == $own' "$m" >"$work/log" || refuse not-now audience "$(jq .audience "$m")"
  [ "$(jq -r .flare_id "$m")" = "$1" ] || refuse bad id_mismatch "$(jq -r .flare_id "$m")"
  t=$(date -d "$created" +%s%3N) stored=$(date -d "$2" +%s%3N)
  ((t <= stored + 24 * 3600000)) || refuse not-now clock "$created"
  ((t >= stored - ${MAX_AGE_HOURS:-336} * 3600000)) || refuse not-now stale "$created"
}

check_stored() { # file raw_size: what can be seen of a zstd frame without decoding it
  local h d window dict fcs content
  h=$(head -c 18 "$1" | hex)00000000000000000000000000000000
  [[ $h == 28b52ffd* ]] && (($(size "$1") >= 6)) || refuse bad malformed "$1 is no zstd frame"
  d=$((16#${h:8:2}))
  h=${h:10}
  window=0
  if ((!(d & 32))); then
    window=$((1 << (10 + (16#${h:0:2} >> 3))))
    window=$((window + window / 8 * (16#${h:0:2} & 7)))
    h=${h:2}
  fi
  dict=$(((1 << (d & 3)) >> 1))
  [[ ${h:0:dict*2} =~ ^0*$ ]] || refuse bad malformed "$1 needs a dictionary"
  h=${h:dict*2}
  fcs=$(((1 << (d >> 6)) & ~1 | (d >> 6 == 0 && d & 32 ? 1 : 0)))
  if ((fcs)); then
    content=$((16#$(fold -w 2 <<<"${h:0:fcs*2}" | tac | tr -d '\n') + (fcs == 2 ? 256 : 0)))
    ((content == $2)) || refuse bad malformed "$1 has $content bytes"
    ((d & 32)) && window=$content
  fi
  ((window >= 0 && window <= 8 << 20)) || refuse bad malformed "$1 has a window of $window"
}

open() { # id last-modified file folder
  [[ $1 =~ ^[0-9a-f]{32}$ ]] || refuse bad malformed "id"
  (($(size "$3") <= 64 << 20)) || refuse bad malformed "more than 64 MiB"
  check_age_header "$3"
  mkdir "$work/out"
  local whole=1 name n raw sum
  age -d -i "$IDENTITIES" "$3" >"$work/plain" 2>"$work/log" || whole=
  if grep -q 'no identity matched' "$work/log"; then refuse not-now no_identity "$(cat "$work/log")"; fi
  entry manifest.json $((4 << 20))
  entry manifest.json.sig 8192
  [ -s "$work/out/manifest.json" ] && [ -s "$work/out/manifest.json.sig" ] || refuse bad malformed "empty"
  check_signature
  check_trust
  check_manifest
  check_facts "$1" "$2"
  while IFS=$'\t' read -r name n sum raw; do
    entry "$name" $((64 << 20)) "$n"
    [ "$(sha256sum <"$work/out/$name")" = "$sum  -" ] || refuse bad hash "$name"
    check_stored "$work/out/$name" "$raw"
  done < <(jq -r '.records[] | [.name, .size, .sha256, .raw_size] | @tsv' "$work/out/manifest.json")
  n=$(padme $((at + 512 + 1024)))
  entry padding $((64 << 20)) $((n - at - 1536))
  [ -z "$(tr -d '\0' <"$work/out/padding" | od -An -tx1)" ] || refuse bad malformed "padding"
  [ "$(size "$work/plain")" = "$n" ] && [ -z "$(tail -c 1024 "$work/plain" | tr -d '\0' | od -An -tx1)" ] || refuse bad malformed "end of the archive"
  [ -n "$whole" ] || refuse bad malformed "$(cat "$work/log")"
  rm "$work/out/padding"
  cp "$work/out"/* "$4"
  echo "good $principal"
}

seal() { # folder file
  local name facts='{}' n
  mkdir "$work/in"
  while read -r name; do
    cp "$1/$name" "$work/in/"
    facts=$(jq -c --arg name "$name" --arg sum "$(sha256sum <"$1/$name" | cut -d ' ' -f 1)" \
      --argjson size "$(size "$1/$name")" --argjson raw "$(zstd -dcq "$1/$name" | wc -c)" \
      '.[$name] = {size: $size, sha256: $sum, raw_size: $raw}' <<<"$facts")
  done < <(jq -r '.records[].name' "$1/manifest.json")
  jq -c --argjson facts "$facts" '.type = "lifeline.flare/v1" | .records |= map(. + $facts[.name])
    | .totals = (.records | group_by(.name | split(".")[1]) | map({key: (.[0].name | split(".")[1]),
        value: {frames: length, items: (map(.items) | add), raw_bytes: (map(.raw_size) | add)}}) | from_entries)' \
    "$1/manifest.json" >"$work/in/manifest.json"
  ssh-keygen -q -Y sign -f "$KEY" -n $namespace "$work/in/manifest.json" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
  : >"$work/in/padding"
  archive() { # names come in the order of the archive
    { echo manifest.json; echo manifest.json.sig; jq -r '.records[].name' "$work/in/manifest.json"; echo padding; } |
      tar --format=ustar --owner=:0 --group=:0 --numeric-owner --mtime=@0 --mode=0644 --blocking-factor=1 -C "$work/in" -T - -cf "$work/plain"
  }
  archive
  n=$(size "$work/plain")
  truncate -s $(($(padme "$n") - n)) "$work/in/padding"
  archive
  age -R "$RECIPIENTS" -o "$2" "$work/plain"
}

case ${1:-} in
  open | seal) "$@" ;;
  *) sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
