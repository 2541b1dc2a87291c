#!/bin/sh
# Makes the attendant's prompt again: espeak-ng and sox are needed for this, and for nothing else.
set -eu
cd "$(dirname "$0")"
text='您好,这里是一一零。您的报警已经收到,正在为您接通接警员,请不要挂机。请说明您在哪里,发生了什么事,有没有人受伤。'
espeak-ng -v cmn -s 170 -w spoken.wav "$text"
sox spoken.wav -r 8000 -c 1 -e a-law -b 8 attendant.wav gain -n -6
rm spoken.wav
