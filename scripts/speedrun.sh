#!/bin/sh
# The best row of the README's table, from Kaggle's CSV: VGG8 for 120 epochs, the mean of its last 12 snapshots, each
# image of PublicTest and PrivateTest scored once, over ten crops too, and the net exported.
#
#     scripts/speedrun.sh fer2013.csv              (make speedrun CSV=fer2013.csv installs what it needs first)
#
# Under 2 hours on two CPU cores that have AVX-512 with bf16 (fer doctor tells); without it the training is in fp32 and
# takes several times as long. Stopped and started again, it goes on where it was. In the environment:
# DATA, NAME  the data directory (data/fer2013) and the run's name in runs/ (speedrun)
# PRECISION   auto: bf16 where the processor or the GPU calculates in it, else fp32
# SOLVER      a solver of VGG8 or a file (s1)
# LAST        how many snapshots are averaged (12, chosen on PublicTest)
set -eu
csv=${1:?give the CSV: scripts/speedrun.sh fer2013.csv}
data=${DATA:-data/fer2013} name=${NAME:-speedrun}
run=runs/$name

fer prepare "$csv" --out "$data"
if ! test -e "$run"; then
    fer train --net vgg8 --solver "${SOLVER:-s1}" --data "$data" --name "$name" \
        --engine pytorch --precision "${PRECISION:-auto}" --shuffle --seed 1
elif ! grep -q '"state": "finished"' "$run/run.json"; then
    fer train --resume "$run" --engine pytorch
fi
fer average "$run" --last "${LAST:-12}"
fer report "$run" --ten-crop
fer export "$run"
