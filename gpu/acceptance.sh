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
#               search-cifar10  searches on CIFAR-10 by AdvantageNAS, seed after seed; their cells are looked up in the table if it is there
#               search-cifar10-together  the same, several trials in one launch
#               search-ptb      a search on the Penn Treebank
#
# A stage takes nine minutes at most. The same command goes on where it stopped: a stage whose OUT/STAGE.json is there is not done again, and
# searches go on from their checkpoints. Where a search does not run on CUDA yet, its stage says so.
#
# environment:
#   PEERS          the PyTorch programs to compare with, with colons between them: toy_torch.py, cifar_torch.py of peers/ beside this script; without
#                  them there are no ratios
#   PEER_PYTHON    a Python that has PyTorch [python3]
#   PEER_DEVICE    where PyTorch runs [cuda]
#   SEARCHES       searches on CIFAR-10, one after the other, of seeds 0, 1, … [3; small: 1]
#   TOGETHER       trials of the search of several ones together [8; small: 2]
#   STAGE_SECONDS  what a stage takes at most [540]
#
# If NVRTC is not on LD_LIBRARY_PATH, the one that comes with PyTorch is taken, or nvrtc.sh beside this script is asked for it. PyTorch's cuBLAS
# stands behind what LD_LIBRARY_PATH has.
#
# If this ran on a real GPU, acceptance.json belongs into paper/results/.
#
# exit code: 0 if all stages are done and all checks agree, 1 if one does not or something failed, 2 if used wrongly, 3 if something is left to do.
set -euo pipefail
stages=(check probe time search-toy search-cifar10 search-cifar10-together search-ptb)
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
  local program lines
  mkdir -p "$out/peers"
  # First, so that ours can say how many times as fast they are. Those that are done are not done again.
  while IFS= read -r program; do
    case $program in
      "") ;;
      *cifar_torch.py) cifar_peers "$program" || return $? ;;
      *) toy_peers "$program" || return $? ;;
    esac
  done < <(tr : '\n' <<<"${PEERS:-}")
  find "$out/peers" -name '*.json' | sort | xargs -r cat >"$out/peers.txt"
  limited "$binary" gpu time --json --peers "$out/peers.txt" ${small:+--small --times 2 --trials 1,2 --cifar10-trials 1} >"$out/time.part" || return $?
  mapfile -t lines <"$out/peers.txt"
  printf '{"peers": [%s],\n"times": ' "$(join "${lines[@]}")"
  cat "$out/time.part"
  printf '}'
}
peer() { # NAME COMMAND…: its JSON line goes to peers/NAME.json
  local name=$1 line status=0
  shift
  [ ! -f "$out/peers/$name.json" ] || return 0
  line=$(LD_LIBRARY_PATH=$own_libraries limited "${PEER_PYTHON:-python3}" "$@" --device "${PEER_DEVICE:-cuda}" 2>>"$out/peers.log" </dev/null | tail -n 1) ||
    status=$?
  ! unfinished "$status" || return 124
  if [ "$status" = 0 ] && [[ $line == '{'* ]]; then
    printf '%s\n' "$line" >"$out/peers/$name.json"
  else
    echo "  PyTorch, $name: failed, see $out/peers.log" >&2
  fi
}
toy_peers() { # PROGRAM
  local variant
  for variant in manual compile-manual; do
    peer "toy-$variant" "$1" --json --fresh --variant $variant --threads 1 || return $?
  done
}
cifar_peers() { # PROGRAM; both modes, of which each is compared with the same
  local mode asked variant
  for mode in "" --tf32; do
    for asked in w theta; do
      peer "cifar10-$asked-uniform-eager$mode" "$1" --asked $asked --cells uniform --variant eager $mode ${small:+--small} || return $?
      for variant in eager compile graphs; do
        peer "cifar10-$asked-conv3-$variant$mode" "$1" --asked $asked --cells conv3 --variant $variant $mode ${small:+--small} || return $?
      done
    done
  done
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
  sed -n '/"toy_torch"/s/.*"variant": "\([^"]*\)".*"median_ms": \([0-9.e+-]*\).*/\1 \2/p' "$out/peers.txt" |
    awk -v speed="$2" '{ printf "%s{\"peer\": \"toy_torch %s\", \"times_as_fast\": %.4g}", n++ ? ", " : "", $1, speed * $2 / 1000 }'
}

# Small searches: few steps of the tiny preset.
length_cifar10=(--preset full)
[ -z "$small" ] || length_cifar10=(--preset tiny --set cifar10.channels=2 --set cifar10.batch=4 --set cifar10.images=80
  --set cifar10.test_images=20 --set cifar10.compared_cells=1)
search-cifar10() {
  local seed searches=${SEARCHES:-3}
  [ -z "$small" ] || searches=${SEARCHES:-1}
  for ((seed = 0; seed < searches; seed++)); do
    search_data cifar10 "cifar10-$seed" --method advantage-nas --seed "$seed" "${length_cifar10[@]}" || return $?
  done
  results_of cifar10-
}
search-cifar10-together() {
  local trials=${TOGETHER:-8}
  [ -z "$small" ] || trials=${TOGETHER:-2}
  search_data cifar10 "cifar10s-$trials" --method advantage-nas --trials "$trials" "${length_cifar10[@]}" || return $?
  results_of "cifar10s-$trials"
}
search-ptb() {
  local preset=full
  [ -z "$small" ] || preset=tiny
  search_data ptb ptb --preset "$preset" || return $?
  results_of ptb
}
search_data() { # EXPERIMENT FOLDER OPTIONS…: runs one unless it is done; leaves FOLDER.said where it does not run on CUDA devices or has no data
  local status=0 experiment=$1 name=$2 said
  shift 2
  rm -f "$out/$name.said"
  [ ! -f "$out/$name.done" ] || return 0
  if [ "$data" = - ]; then
    echo "  SKIPPED: $experiment needs a folder of data" >&2
    echo "no folder of data was named" >"$out/$name.said"
    return 0
  fi
  limited "$binary" search "$experiment" "$@" --device cuda --out "$out/runs/$name" --resume --quiet --data "$data" >"$out/$name.txt" 2>"$out/$name.log" ||
    status=$?
  said=$(cat "$out/$name.log")
  if [[ $status = 2 && $said == *"runs on the CPU only"* ]]; then
    echo "  NOT SUPPORTED: advnas search $experiment does not run on CUDA devices yet; it says: $said" >&2
    printf '%s\n' "$said" >"$out/$name.said"
    return 0
  fi
  [ "$status" = 0 ] || { unfinished "$status" || echo "  $said" >&2; return "$status"; }
  touch "$out/$name.done"
  local result
  while IFS= read -r result; do
    number() { sed -n "s/.*\"$1\": \([0-9.e+-]*\).*/\1/p" "$result" | head -n 1; }
    echo "  $name, ${result#"$out/runs/"}: $(number wall_seconds) s, $(number steps_per_second) steps/s" >&2
  done < <(find "$out/runs/$name" -name result.json | sort)
}
results_of() { # BEGIN: of all runs whose folders begin so
  local said results=() result
  said=$(cat "$out/$1"*.said 2>/dev/null | head -n 1 || true)
  while IFS= read -r result; do results+=("$(cat "$result")"); done < <(find "$out/runs" -path "$out/runs/$1*" -name result.json 2>/dev/null | sort)
  if [ ${#results[@]} = 0 ] && [ -n "$said" ]; then
    printf '{"supported": %s, "said": %s}' "$([[ $said == *"CPU only"* ]] && echo false || echo true)" "$(text "$said")"
  else
    printf '{"supported": true, "results": [%s]}' "$(join "${results[@]}")"
  fi
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
