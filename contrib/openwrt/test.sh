#!/bin/sh
# The feed's build machines run this with the package's name and version.

case "$1" in
	openclaw)
		openclaw --version | grep -F "+rs.$2" || exit 1
		openclaw help openclaw.json | grep -q '^CONFIGURATION\|^KEYS\|^NAME' || exit 1
		;;
esac
