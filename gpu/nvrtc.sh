#!/usr/bin/env bash
# Gets the CUDA compiler NVRTC from PyPI into the user's cache folder, once, and prints the folder to put on LD_LIBRARY_PATH:
#
#   LD_LIBRARY_PATH=$(bash gpu/nvrtc.sh) cargo run -p advantage-nas-gpu --example ring_2
#
# usage: bash gpu/nvrtc.sh [VERSION]     13.0.88 unless given; 12.9.86 for a driver of the 12 series
#
# Needs python3 with pip. Neither a toolkit, nor a driver, nor a GPU.
set -euo pipefail
version=${1:-13.0.88}
case $version in
  13.*) package=nvidia-cuda-nvrtc place=nvidia/cu13/lib ;;
  12.*) package=nvidia-cuda-nvrtc-cu12 place=nvidia/cuda_nvrtc/lib ;;
  *) echo "error: nvrtc.sh knows versions 12 and 13, got $version" >&2; exit 2 ;;
esac
folder=${ADVNAS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/advantage-nas}/nvrtc-$version
there() { compgen -G "$folder/$place/libnvrtc.so.*" >/dev/null; }
if ! there; then
  mkdir -p "$(dirname "$folder")"
  temporary=$(mktemp -d "$folder.XXXXXX")
  trap 'rm -rf "$temporary"' EXIT
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
    --target "$temporary" "$package==$version" >&2
  # Appears as a whole; if another process was faster, its copy is as good.
  mv -T "$temporary" "$folder" 2>/dev/null || there
fi
printf '%s\n' "$folder/$place"
