#!/bin/sh
# git over smart HTTP: a clone is several requests, a push is an upload.
unset http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY GIT_SSL_CAINFO GIT_SSL_CAPATH
export GIT_TERMINAL_PROMPT=0 GIT_CONFIG_NOSYSTEM=1 HOME="$DIR" GIT_CONFIG_GLOBAL=/dev/null
through() {
  proxy=$1
  shift
  git -c "http.proxy=http://$proxy" -c http.proxyAuthMethod=basic -c "http.sslCAInfo=$CA" -c user.name=t \
    -c user.email=t@t.test -c init.defaultBranch=main -c core.compression=0 "$@"
}
as() { through "$PROXY_USER:$PROXY_PASSWORD@$PROXY" "$@"; }
fresh() { rm -rf "$DIR/clone"; }
small() { fresh; as clone -q "$1/git/small.git" "$DIR/clone" && echo "200 $(cat "$DIR/clone/small")"; }
refused() { fresh; through "$PROXY" clone -q "$1/git/small.git" "$DIR/clone" 2>&1 | grep -o 407 | head -n 1; }
sum() {
  fresh
  as clone -q "$1/git/big.git" "$DIR/clone" && echo "200 $(sha256sum <"$DIR/clone/big" | cut -d' ' -f1)"
}
send() {
  rm -rf "$DIR/work" && as init -q "$DIR/work" && cp "$FILE" "$DIR/work/file" && as -C "$DIR/work" add file \
    && as -C "$DIR/work" commit -q -m file && as -C "$DIR/work" push -q "$1/git/$2.git" HEAD:refs/heads/main \
    && fresh && as clone -q "$1/git/$2.git" "$DIR/clone" && cmp "$FILE" "$DIR/clone/file" \
    && echo "200 $(stat -c %s "$DIR/clone/file") bytes, the same"
}
case $SCENARIO in
forward | keep-forward) small "$HTTP" ;;
connect | keep-connect) small "$HTTPS" ;;
auth-forward) refused "$HTTP"; small "$HTTP" ;;
auth-connect) refused "$HTTPS"; small "$HTTPS" ;;
download) sum "$HTTP" && sum "$HTTPS" ;;
upload) send "$HTTP" up1; send "$HTTPS" up2 ;;
esac
