# Whether a manifest keeps the rules of docs/FLARE.md that need nothing beside it.
def is($re): type == "string" and test("\\A(?:" + $re + ")\\z");
def text($most): is("[ -~]*") and length <= $most;
def int($least; $most): type == "number" and . == floor and . >= $least and . <= $most;
def hex32: is("[0-9a-f]{32}");
def time: is("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z")
  and . == ((.[:19] + "Z" | fromdate | todate | .[:19]) + .[19:]);
def absent_or(f): . == null or f;
def signals: "traces|metrics|logs|profiles";
def most: 999999999999999;
def reserved: is("(lifeline-|content-|proxy-|grpc-).*") or is("authorization|connection|cookie|expect|host|keep-alive|set-cookie|te|trailer|transfer-encoding|upgrade");

def meta: type == "object" and length <= 64
  and all(keys[]; is("[a-z0-9._-]{1,128}") and (reserved | not))
  and all(.[]; type == "array" and length <= 16 and all(.[]; text(4096)))
  and ([to_entries[] | .key as $k | .value[] | length + ($k | length) + 32] | add // 0) <= 16384;

# The members of a lifeline-frame text whose keys are known, as an object; null if it is none.
def frame:
  def member: "[a-z][a-z0-9_-]*=(?:\"[^\"]*\"|[^\",;]*)(?:;reason=[a-z][a-z0-9_-]{0,31})?";
  if (is(member + "(?:,[ \t]*" + member + ")*") | not) or length > 1024 then null
  else [scan(member) | capture("\\A(?<key>[^=]*)=(?<value>\"[^\"]*\"|[^\",;]*)")]
    | if ([.[].key] | length != (unique | length)) then null else from_entries end
  end;
def agent: is("[ !#-\\[\\]-~]{1,128}");
def frame_ok($items): frame as $f | $f != null
  and ($f.agent | is("\"[^\"]*\"") and (.[1:-1] | agent))
  and ($f.boot | is("\"[^\"]*\"") and (.[1:-1] | hex32))
  and all($f.seq, $f.from, $f.to, $f.items, $f.attempt; is("\\+?[0-9]+") and (tonumber | int(0; most)))
  and all($f.lost, $f.rejected; absent_or(is("\\+?[0-9]+") and (tonumber | int(0; most))))
  and ($f.seq | tonumber) > 0 and ($f.items | tonumber) == $items;

def record($n; $drill):
  (.name | is(("00000" + ($n + 1 | tostring))[-6:] + "\\.(" + signals + ")\\.binpb\\.zst"))
  and (.batch_id | is("[0-9a-f]{32}(\\.[01]){0,24}"))
  and (.size | int(1; 67108864)) and (.raw_size | int(1; 67108864))
  and (.raw_size as $raw | .items // 0 | int(0; $raw))
  and (.sha256 | is("[0-9a-f]{64}"))
  and (.meta | absent_or(meta))
  and (($drill and (.frame // "") == "") or ((.items // 0) as $items | .frame | type == "string" and frame_ok($items)));

def ids: [.records[] | (.name | split(".")[1]) + " " + .batch_id];
def no_overlap: ids as $ids | ($ids | length == (unique | length))

  and ([$ids[] | [recurse(if test("\\.") then .[:-2] else empty end)][1:][]] as $parents | ($parents - ($parents - $ids)) == []);

def totals: .records | group_by(.name | split(".")[1])
  | map({key: (.[0].name | split(".")[1]), value: {frames: length, items: (map(.items // 0) | add), raw_bytes: (map(.raw_size) | add)}})
  | from_entries;

(.flare_id | hex32) and (.boot_id | hex32) and (.seq | int(1; most)) and (.agent | agent)
and (.audience | absent_or(text(256)))
and (.reason | is("expired|ring_full|shutdown|rejected|drill|manual"))
and (.created | time) and (.oldest | absent_or(time)) and (.newest | absent_or(time))
and (.oldest == null or (.newest != null and .newest >= .oldest))
and (.unresolved | absent_or(type == "array" and length <= 256 and all(.[]; int(0; 18446744073709551615))))
and (.lost | absent_or(type == "object" and all(keys[]; is(signals)) and all(.[]; int(0; 9223372036854775807))))
and (.report | absent_or(type == "object" and (tojson | length <= 4096) and (.version | absent_or(text(4096)))))
and (.records | type == "array" and length >= 1 and length <= 16384)
and ((.reason == "drill") as $drill | .records | all(to_entries[]; .key as $n | .value | type == "object" and record($n; $drill)))
and ([.records[].size] | add) <= 67108864
and no_overlap
and totals == .totals
