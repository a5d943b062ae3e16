#!/usr/bin/env bash
# Ring 3: is everything right and how fast is it, on a machine with a GPU and no Rust?
#
# usage: bash acceptance.sh BINARY DATA_DIR MINUTES OUT [small]
#
#   BINARY    a built `advnas`
#   DATA_DIR  the data sets; not read yet, as the toy regression needs none: `-` will do
#   MINUTES   searches are started as long as this many minutes are not over; checks and timings are always done
#   OUT       a new folder for the results; OUT/acceptance.json has them all
#   small     tiny networks and few trials, for the software device
#
# environment:
#   PEERS        the PyTorch program toy_torch.py to compare with; without it there are no ratios
#   PEER_PYTHON  a Python that has PyTorch [python3]
#   PEER_DEVICE  where PyTorch runs [cuda]
#
# NVRTC must be on LD_LIBRARY_PATH; if it is not, the one that comes with PyTorch is taken, or nvrtc.sh beside this script
# is asked for it.
#
# If this ran on a real GPU, acceptance.json belongs into paper/results/.
#
# exit code: 0 if all checks agree, 1 if one does not or something failed, 2 if used wrongly.
set -euo pipefail
[ $# -ge 4 ] && [ $# -le 5 ] && [ "${5:-small}" = small ] || { sed -n '2,23s/^# \{0,1\}//p' "$0" >&2; exit 2; }
binary=$1 data=$2 minutes=$3 out=$4 small=${5:-}
fail() { echo "error: $*" >&2; exit "${code:-1}"; }
[[ $minutes =~ ^[0-9]+$ ]] || code=2 fail "MINUTES must be a whole number, got $minutes"
[ -x "$binary" ] || code=2 fail "$binary is not a program"
[ "$data" = - ] || [ -d "$data" ] || code=2 fail "$data is not a folder"
[ ! -e "$out" ] || code=2 fail "$out is already there"
here=$(dirname "${BASH_SOURCE[0]}")
mkdir -p "$out"

# The folder of the NVRTC of one series that comes with PyTorch.
pytorchs_nvrtc() { # SERIES
  "${PEER_PYTHON:-python3}" - "$1" 2>>"$out/peers.log" <<'END'
import importlib.util, os, sys
packages = importlib.util.find_spec("nvidia")
for place in (packages and packages.submodule_search_locations) or []:
    for folder in (os.path.join(place, "cu" + sys.argv[1], "lib"), os.path.join(place, "cuda_nvrtc", "lib")):
        if os.path.exists(os.path.join(folder, "libnvrtc.so." + sys.argv[1])):
            sys.exit(print(folder))
sys.exit(1)
END
}

# PyTorch has libraries of its own.
own_libraries=${LD_LIBRARY_PATH-}
info=$("$binary" info)
grep -q '^cuda *none' <<<"$info" && fail "$(grep '^cuda' <<<"$info")"
if grep -q '^nvrtc *none' <<<"$info"; then
  # No newer series than the driver's; and that of the 13 series knows no device before compute capability 7.5.
  version=13.0.88
  grep -q -e 'driver for CUDA 12\.' -e 'compute capability \([56]\.\|7\.[0-4]\)' <<<"$info" && version=12.9.86
  library=$(pytorchs_nvrtc "${version%%.*}" || bash "$here/nvrtc.sh" "$version") ||
    fail "NVRTC is not on LD_LIBRARY_PATH, not with PyTorch, and can't be had from PyPI"
  export LD_LIBRARY_PATH=$library${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  info=$("$binary" info)
fi
printf '%s\n' "$info" | tee "$out/info.txt"
device=$(sed -n 's/^cuda  *//p' <<<"$info" | head -n 1)

# Right?
passed=true
"$binary" gpu check --json ${small:+--small --steps 10} >"$out/check.json" || passed=false
grep -q '"checks"' "$out/check.json" || fail "the checks did not run"
echo "checks: $(grep -c '"compared"' "$out/check.json") comparisons, all passed: $passed"

# How fast?
"$binary" gpu time --json ${small:+--small --times 3 --trials 1,2} >"$out/times.json"
peers=()
if [ -n "${PEERS:-}" ]; then
  for variant in manual compile-manual; do
    if line=$(LD_LIBRARY_PATH=$own_libraries "${PEER_PYTHON:-python3}" "$PEERS" --json --fresh --variant $variant --threads 1 --device "${PEER_DEVICE:-cuda}" \
      2>>"$out/peers.log" | tail -n 1) && [[ $line == '{'* ]]; then
      peers+=("$line")
    else
      echo "PyTorch, $variant: failed, see $out/peers.log"
    fi
  done
fi

# Searches, one trial alone and many together, as long as there is time.
many=100 length=()
[ -z "$small" ] || { many=3; length=(--iterations 20 --set toy.edges=3 --set toy.candidates=4 --set toy.batch=33); }
searches=()
search() { # METHOD TRIALS
  [ "$SECONDS" -lt $((minutes * 60)) ] || { echo "search $1, $2 trials: not started, the time is over"; return 0; }
  local folder=$out/runs/$1-$2
  "$binary" search toy --device cuda --method "$1" --trials "$2" --out "$folder" --quiet "${length[@]}" >"$out/$1-$2.txt"
  mapfile -t results < <(find "$folder" -name result.json | sort)
  local found speed
  found=$({ grep -L '"first_hit": null' "${results[@]}" || true; } | wc -l)
  # Of all trials together: the slowest says how long they took.
  speed=$(sed -n 's/.*"steps_per_second": \([0-9.e+-]*\).*/\1/p' "${results[@]}" | sort -g | head -n 1)
  speed=$(awk -v speed="$speed" -v trials="$2" 'BEGIN { printf "%.6g", speed * trials }')
  echo "search $1, $2 trials: teacher found in $found, $speed steps/s of all trials together"
  searches+=("{\"method\": \"$1\", \"trials\": $2, \"found\": $found, \"steps_per_second\": $speed, \"ratios\": [$(ratios "$1" "$speed")]}")
}
ratios() { # METHOD STEPS_PER_SECOND: how many times as fast as each peer, which does the same method's step
  [ "$1" = advantage-nas ] || return 0
  local separator="" line
  for line in "${peers[@]}"; do
    printf '%s' "$separator"
    sed -n 's/.*"variant": "\([^"]*\)".*"median_ms": \([0-9.e+-]*\).*/\1 \2/p' <<<"$line" |
      awk -v speed="$2" '{ printf "{\"peer\": \"toy_torch %s\", \"times_as_fast\": %.4g}", $1, speed * $2 / 1000 }'
    separator=", "
  done
}
search advantage-nas 1
for method in advantage-nas reinforce proxylessnas gdas darts advantage-exact; do search $method $many; done

join() { local IFS=,; printf '%s' "$*"; }
{
  printf '{"passed": %s, "emulated": %s, "small": %s, "device": "%s", "date": "%s", "seconds": %s,\n' "$passed" \
    "$(grep -q emulated <<<"$device" && echo true || echo false)" "$([ -n "$small" ] && echo true || echo false)" \
    "$device" "$(date -u +%FT%TZ)" "$SECONDS"
  printf '"searches": [%s],\n"peers": [%s],\n"times": ' "$(join "${searches[@]}")" "$(join "${peers[@]}")"
  cat "$out/times.json"
  printf ',\n"check": '
  cat "$out/check.json"
  printf '}\n'
} >"$out/acceptance.json"
echo "results in $out/acceptance.json"
[ $passed = true ]
