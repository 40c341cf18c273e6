#!/bin/sh
# curl: forward, CONNECT, and its own dance around a 407 (--proxy-anyauth).
unset http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY
call() { curl -sS --max-time 120 --noproxy '' --cacert "$CA" -x "http://$PROXY" "$@"; }
as() { call -U "$PROXY_USER:$PROXY_PASSWORD" "$@"; }
small() { as -w '\n%{http_code}\n' "$@" | awk 'NR % 2 { body = $0; next } { print $0, body }'; }
sum() { as -o "$DIR/big" -w '%{http_code} ' "$1" && sha256sum <"$DIR/big" | cut -d' ' -f1; }
case $SCENARIO in
forward) small "$HTTP/small" ;;
connect) small "$HTTPS/small" ;;
auth-forward)
  call -o /dev/null -w '%{http_code}\n' "$HTTP/small"
  small --proxy-anyauth "$HTTP/small"
  ;;
auth-connect)
  call -o /dev/null -w '%{http_connect}\n' "$HTTPS/small" 2>/dev/null
  small --proxy-anyauth "$HTTPS/small"
  ;;
keep-forward) small "$HTTP/small?[1-5]" ;;
keep-connect) small "$HTTPS/small?[1-5]" ;;
download) sum "$HTTP/big" && sum "$HTTPS/big" ;;
upload)
  small --data-binary "@$FILE" "$HTTP/upload"
  small -X POST -T "$FILE" "$HTTPS/upload"
  ;;
esac
