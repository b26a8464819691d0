#!/bin/sh
# Write localhost.pem, the key and the certificate of the tests with TLS: ./make_localhost_pem.sh
# Its own authority, with all that strict checks ask for (Python 3.13's default context): key usage, key identifiers.
set -eu
cd "$(dirname "$0")"
key=$(mktemp) certificate=$(mktemp)
trap 'rm -f "$key" "$certificate"' EXIT
openssl ecparam -name prime256v1 -genkey -noout |
  openssl pkcs8 -topk8 -nocrypt -out "$key"
openssl req -x509 -new -key "$key" -sha256 -days 36500 -subj /CN=localhost -out "$certificate" \
  -addext 'basicConstraints=critical,CA:TRUE' \
  -addext 'keyUsage=critical,digitalSignature,keyCertSign' \
  -addext 'extendedKeyUsage=serverAuth' \
  -addext 'authorityKeyIdentifier=keyid:always' \
  -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1'
cat "$key" "$certificate" > localhost.pem
