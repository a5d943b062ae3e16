#!/usr/bin/env bash
# Ring 3: is everything right and how fast is it, on a machine with a GPU and no Rust?
#
# usage: bash acceptance.sh BINARY DATA_DIR MINUTES OUT [small] [STAGE]...
#
#   BINARY    a built `advnas`
#   DATA_DIR  the data sets, for the searches on them; `-` if there are none
#   MINUTES   the call ends after so many
#   OUT       a folder for the results; OUT/acceptance.json has them all
#   small     tiny networks and few trials, for the software device
#   STAGE     what to do, all unless named:
#               check           every kernel and supernet against the CPU
#               probe           what the model of times assumes: launches, rates, bandwidths, clock
#               time            kernels and steps, beside what the model predicts; with PEERS also PyTorch
#               search-toy      searches of the toy regression, one trial alone and many together
#               search-cifar10  a search on CIFAR-10
#               search-ptb      a search on the Penn Treebank
#
# A stage takes nine minutes at most. The same command goes on where it stopped: a stage whose OUT/STAGE.json is there is not done again, and
# searches go on from their checkpoints. Where a search does not run on CUDA yet, its stage says so.
#
# environment:
#   PEERS          the PyTorch program toy_torch.py to compare with; without it there are no ratios
#   PEER_PYTHON    a Python that has PyTorch [python3]
#   PEER_DEVICE    where PyTorch runs [cuda]
#   STAGE_SECONDS  what a stage takes at most [540]
#
# If NVRTC is not on LD_LIBRARY_PATH, the one that comes with PyTorch is taken, or nvrtc.sh beside this script is asked for it. PyTorch's cuBLAS
# stands behind what LD_LIBRARY_PATH has.
#
# If this ran on a real GPU, acceptance.json belongs into paper/results/.
#
# exit code: 0 if all stages are done and all checks agree, 1 if one does not or something failed, 2 if used wrongly, 3 if something is left to do.
set -euo pipefail
stages=(check probe time search-toy search-cifar10 search-ptb)
usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
fail() { echo "error: $*" >&2; exit "${code:-1}"; }
[ $# -ge 4 ] || usage
binary=$1 data=$2 minutes=$3 out=$4
shift 4
small=
[ "${1:-}" != small ] || { small=small; shift; }
for stage in "$@"; do
  [[ " ${stages[*]} " == *" $stage "* ]] || code=2 fail "no stage $stage, there are: ${stages[*]}"
done
[[ $minutes =~ ^[0-9]+$ ]] || code=2 fail "MINUTES must be a whole number, got $minutes"
[[ ${STAGE_SECONDS:=540} =~ ^[0-9]+$ ]] || code=2 fail "STAGE_SECONDS must be a whole number, got $STAGE_SECONDS"
[ -x "$binary" ] || code=2 fail "$binary is not a program"
[ "$data" = - ] || [ -d "$data" ] || code=2 fail "$data is not a folder"
here=$(dirname "${BASH_SOURCE[0]}")
text() { printf '"%s"' "$(sed 's/[\\"]/\\&/g' <<<"$1" | tr '\t\n' '  ' | sed 's/ $//')"; }

# PyTorch's folders with a library of one series; it has libraries of its own in the packages beside it.
pytorchs() { # LIBRARY SERIES
  "${PEER_PYTHON:-python3}" - "$1.so.$2" 2>/dev/null <<'END'
import glob, importlib.util, os, sys
places = []
for package, up in (("nvidia", "."), ("torch", "../nvidia")):
    spec = importlib.util.find_spec(package)
    places += [os.path.join(place, up) for place in (spec and spec.submodule_search_locations) or []]
for place in places:
    for folder in sorted(glob.glob(os.path.join(place, "*", "lib"))):
        if os.path.exists(os.path.join(folder, sys.argv[1])):
            sys.exit(print(os.path.realpath(folder)))
sys.exit(1)
END
}

own_libraries=${LD_LIBRARY_PATH-}
info=$("$binary" info)
grep -q '^cuda *none' <<<"$info" && fail "$(grep '^cuda' <<<"$info")"
# No newer series than the driver's; and that of the 13 series knows no device before compute capability 7.5.
series=(13 12) version=13.0.88
grep -q -e 'driver for CUDA 12\.' -e 'compute capability \([56]\.\|7\.[0-4]\)' <<<"$info" && series=(12) version=12.9.86
if grep -q '^nvrtc *none' <<<"$info"; then
  library=
  for one in "${series[@]}"; do library=${library:-$(pytorchs libnvrtc "$one" || true)}; done
  library=${library:-$(bash "$here/nvrtc.sh" "$version")} ||
    fail "NVRTC is not on LD_LIBRARY_PATH, not with PyTorch, and can't be had from PyPI"
  export LD_LIBRARY_PATH=$library${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  info=$("$binary" info)
fi
for one in "${series[@]}"; do
  if library=$(pytorchs libcublas "$one"); then
    export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$library
    break
  fi
done
device=$(sed -n 's/^cuda  *//p' <<<"$info" | head -n 1)

# The same folder goes on only with the same program on the same device.
what="$(sha256sum "$binary" | cut -c 1-64) $device ${small:-full}"
if [ -e "$out" ] && [ -n "$(ls -A "$out")" ]; then
  [ -f "$out/of.txt" ] || code=2 fail "$out has something else in it"
  [ "$(cat "$out/of.txt")" = "$what" ] || code=2 fail "$out is of another program, device or size: $(cat "$out/of.txt")"
fi
mkdir -p "$out"
printf '%s\n' "$what" >"$out/of.txt"
printf '%s\n' "$info" | tee "$out/info.txt"

begun=0
left() { # seconds that a stage may still take
  local stage=$((STAGE_SECONDS - (SECONDS - begun))) call=$((minutes * 60 - SECONDS))
  echo $((stage < call ? stage : call))
}
# Runs a command as long as there is time; 124 or 137 if it was cut off, 130 if a search was and left a checkpoint.
limited() {
  local seconds
  seconds=$(left)
  [ "$seconds" -gt 0 ] || return 124
  timeout --kill-after=20 "$seconds" "$@"
}
unfinished() { [ "$1" = 124 ] || [ "$1" = 130 ] || [ "$1" = 137 ]; }

# The first "passed" is that of all checks together.
all_passed() { [[ $(grep -m 1 '"passed": ' "$1") == *true* ]] && echo true || echo false; }

# Each stage prints its result as JSON; what it says to a person goes to standard error. Status 124: not done in time.
check() {
  local status=0
  limited "$binary" gpu check --json ${small:+--small --steps 10} >"$out/check.part" || status=$?
  grep -q '"passed": \(true\|false\)' "$out/check.part" || return $((status > 0 ? status : 1))
  echo "  $(grep -c '"compared"' "$out/check.part") comparisons, all passed: $(all_passed "$out/check.part")" >&2
  cat "$out/check.part"
}
probe() { limited "$binary" gpu probe --json ${small:+--small}; }
time_() {
  local peers=() line variant
  limited "$binary" gpu time --json ${small:+--small --times 2 --trials 1,2 --cifar10-trials 1} >"$out/time.part" || return $?
  for variant in ${PEERS:+manual compile-manual}; do
    if line=$(LD_LIBRARY_PATH=$own_libraries limited "${PEER_PYTHON:-python3}" "$PEERS" --json --fresh --variant $variant --threads 1 \
      --device "${PEER_DEVICE:-cuda}" 2>>"$out/peers.log" | tail -n 1) && [[ $line == '{'* ]]; then
      peers+=("$line")
    else
      echo "  PyTorch, $variant: failed, see $out/peers.log" >&2
    fi
  done
  printf '%s\n' ${peers[@]+"${peers[@]}"} >"$out/peers.txt"
  printf '{"peers": [%s],\n"times": ' "$(join "${peers[@]}")"
  cat "$out/time.part"
  printf '}'
}
join() { local IFS=,; printf '%s' "$*"; }

many=100 length=()
[ -z "$small" ] || { many=3; length=(--iterations 20 --set toy.edges=3 --set toy.candidates=4 --set toy.batch=33); }
search-toy() {
  local searches=() method
  one_search advantage-nas 1 || return $?
  for method in advantage-nas reinforce proxylessnas gdas darts advantage-exact; do one_search "$method" "$many" || return $?; done
  printf '{"searches": [%s]}' "$(join "${searches[@]}")"
}
one_search() { # METHOD TRIALS
  local folder=$out/runs/toy-$1-$2 found speed results
  limited "$binary" search toy --device cuda --method "$1" --trials "$2" --out "$folder" --resume --quiet "${length[@]}" \
    >"$out/$1-$2.txt" || return $?
  mapfile -t results < <(find "$folder" -name result.json | sort)
  found=$({ grep -L '"first_hit": null' "${results[@]}" || true; } | wc -l)
  # Of all trials together: the slowest says how long they took.
  speed=$(sed -n 's/.*"steps_per_second": \([0-9.e+-]*\).*/\1/p' "${results[@]}" | sort -g | head -n 1)
  speed=$(awk -v speed="$speed" -v trials="$2" 'BEGIN { printf "%.6g", speed * trials }')
  echo "  $1, $2 trials: teacher found in $found, $speed steps/s of all trials together" >&2
  searches+=("{\"method\": \"$1\", \"trials\": $2, \"found\": $found, \"steps_per_second\": $speed, \"ratios\": [$(ratios "$1" "$speed")]}")
}
ratios() { # METHOD STEPS_PER_SECOND: how many times as fast as each peer, which does the same method's step
  [ "$1" = advantage-nas ] && [ -s "$out/peers.txt" ] || return 0
  sed -n 's/.*"variant": "\([^"]*\)".*"median_ms": \([0-9.e+-]*\).*/\1 \2/p' "$out/peers.txt" |
    awk -v speed="$2" '{ printf "%s{\"peer\": \"toy_torch %s\", \"times_as_fast\": %.4g}", n++ ? ", " : "", $1, speed * $2 / 1000 }'
}

search-cifar10() { search_data cifar10; }
search-ptb() { search_data ptb; }
search_data() { # EXPERIMENT
  local status=0 folder=$out/runs/$1 said preset=full
  [ -z "$small" ] || preset=tiny
  local options=(--preset "$preset" --device cuda --out "$folder" --resume --quiet)
  [ "$data" = - ] || options+=(--data "$data")
  limited "$binary" search "$1" "${options[@]}" >"$out/$1.txt" 2>"$out/$1.log" || status=$?
  said=$(cat "$out/$1.log")
  if [[ $status = 2 && $said == *"runs on the CPU only"* ]]; then
    echo "  NOT SUPPORTED: advnas search $1 does not run on CUDA devices yet; it says: $said" >&2
    printf '{"supported": false, "said": %s}' "$(text "$said")"
    return 0
  fi
  [ "$status" = 0 ] || { unfinished "$status" || echo "  $said" >&2; return "$status"; }
  local speed seconds
  speed=$(sed -n 's/.*"steps_per_second": \([0-9.e+-]*\).*/\1/p' "$folder/result.json")
  seconds=$(sed -n 's/.*"wall_seconds": \([0-9.e+-]*\).*/\1/p' "$folder/result.json")
  echo "  $1, preset $preset: $seconds s, $speed steps/s" >&2
  printf '{"supported": true, "preset": "%s", "result": ' "$preset"
  cat "$folder/result.json"
  printf '}'
}

# What there is of all stages.
summarise() {
  local stage separator=""
  printf '{"complete": %s, "passed": %s, "emulated": %s, "small": %s, "device": %s' "$1" "$2" \
    "$(grep -q emulated <<<"$device" && echo true || echo false)" "$([ -n "$small" ] && echo true || echo false)" "$(text "$device")"
  for stage in "${stages[@]}"; do
    printf ',\n"%s": ' "$stage"
    if [ -f "$out/$stage.json" ]; then cat "$out/$stage.json"; else printf null; fi
  done
  printf '}\n'
}

failed=()
[ $# -gt 0 ] || set -- "${stages[@]}"
for stage in "$@"; do
  if [ -f "$out/$stage.json" ]; then
    echo "$stage: done before"
    continue
  fi
  if [ "$SECONDS" -ge $((minutes * 60)) ]; then
    echo "$stage: not begun, the time is over"
    continue
  fi
  echo "$stage"
  begun=$SECONDS status=0
  name=$stage
  [ "$stage" != time ] || name=time_
  $name >"$out/$stage.result" || status=$?
  if [ "$status" = 0 ]; then
    # Whole or not at all.
    {
      printf '{"date": "%s", "seconds": %s, "result": ' "$(date -u +%FT%TZ)" "$((SECONDS - begun))"
      cat "$out/$stage.result"
      printf '}\n'
    } >"$out/$stage.part"
    mv "$out/$stage.part" "$out/$stage.json"
  elif unfinished "$status"; then
    echo "  not done in time; the same command goes on"
  else
    echo "  FAILED with status $status"
    failed+=("$stage")
  fi
  rm -f "$out/$stage.result" "$out/$stage.part"
done

complete=true passed=null
for stage in "${stages[@]}"; do [ -f "$out/$stage.json" ] || complete=false; done
[ ! -f "$out/check.json" ] || passed=$(all_passed "$out/check.json")
summarise $complete $passed >"$out/acceptance.part"
mv "$out/acceptance.part" "$out/acceptance.json"
echo "results in $out/acceptance.json, complete: $complete, all checks passed: $passed"
[ ${#failed[@]} = 0 ] && [ $passed != false ] || exit 1
[ $complete = true ] || exit 3
