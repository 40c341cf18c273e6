#!/bin/sh
# wget.
unset http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY
call() {
  wget -nv -t 1 -T 120 --no-hsts --ca-certificate="$CA" -e use_proxy=yes -e "http_proxy=http://$PROXY/" \
    -e "https_proxy=http://$PROXY/" "$@"
}
as() { call --proxy-user="$PROXY_USER" --proxy-password="$PROXY_PASSWORD" "$@" 2>"$DIR/log" || cat "$DIR/log" >&2; }
# It tells no status but those that are errors.
small() { as -O - "$@" | sed 's/hello/200 hello\n/g'; }
# Of a tunnel's refusal it tells the words alone.
refused() { call -O /dev/null "$1" 2>&1 | grep -q 'Proxy Authentication Required' && echo 407; }
sum() { as -O "$DIR/big" "$1" && echo "200 $(sha256sum <"$DIR/big" | cut -d' ' -f1)"; }
send() { echo "200 $(as -O - --post-file="$FILE" "$1")"; }
case $SCENARIO in
forward) small "$HTTP/small" ;;
connect) small "$HTTPS/small" ;;
auth-forward) refused "$HTTP/small"; small "$HTTP/small" ;;
auth-connect) refused "$HTTPS/small"; small "$HTTPS/small" ;;
keep-forward) small "$HTTP/small?1" "$HTTP/small?2" "$HTTP/small?3" "$HTTP/small?4" "$HTTP/small?5" ;;
keep-connect) small "$HTTPS/small?1" "$HTTPS/small?2" "$HTTPS/small?3" "$HTTPS/small?4" "$HTTPS/small?5" ;;
download) sum "$HTTP/big" && sum "$HTTPS/big" ;;
upload) send "$HTTP/upload"; send "$HTTPS/upload" ;;
esac
