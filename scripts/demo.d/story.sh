# shellcheck shell=bash disable=SC2154
# What the demo shows, each step a function that says what it saw or fails: sourced by scripts/demo.

url() { # FAMILY
    if [[ $1 == 4 ]]; then echo "http://$vip4"; else echo "http://[$vip6]"; fi
}

# COUNT curl processes, as many connections. Each prints one line: body, status, X-Backend, seconds.
requests() { # FAMILY COUNT
    # The shell in between makes one write of each line: curl makes two, which others could part.
    # shellcheck disable=SC2016
    seq "$2" | in_namespace client xargs -P 4 -n 1 sh -c 'printf "%s\n" "$(curl -sS --max-time 5 \
        -w " %{http_code} %header{x-backend} %{time_total}" "$0/?$1" 2>&1)"' "$(url "$1")"
}

# The lines that are not an answer of the backend which they name.
wrong_lines() { grep -vE '^hello from (backend[1-3]) 200 \1 [0-9.]+$' "$1" || true; }

make_requests() { # FAMILY
    local answers=$work/answers$1 wrong
    requests "$1" 300 >"$answers"
    wrong=$(wrong_lines "$answers")
    [[ -z $wrong ]] || fail "$(wc -l <<<"$wrong") of 300 requests over IPv$1 went wrong: $(head -n 3 <<<"$wrong")"
    [[ $(wc -l <"$answers") -eq 300 ]] || fail "$(wc -l <"$answers") answers to 300 requests over IPv$1"
    [[ $(cut -d' ' -f5 "$answers" | sort -u | wc -l) -eq 3 ]] || fail "not all three backends answered over IPv$1"
    cut -d' ' -f6 "$answers" >>"$work/seconds"
    say "  300 requests over IPv$1: all answered, by all three backends"
}

checksum() { sha256sum <"$1" | cut -d' ' -f1; }

download() {
    local sum
    sum=$(in_namespace client curl -sSf --max-time 60 "$(url 4)/object" | sha256sum | cut -d' ' -f1) ||
        fail "the download broke off"
    [[ $sum == "$object_sum" ]] || fail "the downloaded object has sha256 $sum, the original $object_sum"
    say "  256 MiB down: sha256 equal at both ends"
}

upload() {
    local backend sum
    backend=$(in_namespace client curl -sSf --max-time 60 -o /dev/null -w '%header{x-backend}' \
        -T "$work/object" "$(url 6)/upload/object") || fail "the upload broke off"
    sum=$(checksum "$work/$backend/files/upload/object")
    [[ $sum == "$object_sum" ]] || fail "the object that $backend got has sha256 $sum, the original $object_sum"
    rm "$work/$backend/files/upload/object"
    say "  256 MiB up: sha256 equal at both ends"
}

ask_echo() { # FAMILY ADDRESS
    local answered
    answered=$(in_namespace client /usr/bin/python3 "$here/ask.py" "$2" 7 50)
    [[ $answered -eq 50 ]] || fail "$answered of 50 UDP datagrams over IPv$1 came back"
    say "  50 UDP datagrams over IPv$1: all echoed"
}

transfers=12
transfer_size=$((16 << 20))

# Slow downloads that last some 4 s. Each leaves its headers (with the backend's name) and its sha256.
start_transfers() {
    local number
    for ((number = 1; number <= transfers; number++)); do
        in_namespace client curl -s --max-time 30 --limit-rate 4M --range "0-$((transfer_size - 1))" \
            --dump-header "$work/transfer$number.headers" "$(url 4)/object" 2>/dev/null |
            sha256sum >"$work/transfer$number.sum" &
        transfer_pids+=($!)
    done
}

backend_of_transfer() { # NUMBER
    sed -n 's/^X-Backend: *\(backend[0-9]\).*/\1/p' "$work/transfer$1.headers"
}

transfers_under_way() {
    local number
    for ((number = 1; number <= transfers; number++)); do
        [[ -n $(backend_of_transfer "$number") ]] || return 1
    done
}

milliseconds() { date +%s%3N; }

# Asks, one new connection after the other, until 2.5 s after the death; prints the time of the last failure.
last_failure_after() { # TIME-OF-DEATH
    local now last=0
    while now=$(($(milliseconds) - $1)) && ((now < 2500)); do
        in_namespace client curl -s --max-time 1 -o /dev/null "$(url 4)/" || last=$(($(milliseconds) - $1))
    done
    echo "$last"
}

check_transfers() { # VICTIM
    local number on_dead=0 on_others=0 expected
    expected=$(head -c "$transfer_size" "$work/object" | sha256sum)
    wait "${transfer_pids[@]}" || true # those on the dead backend failed, as they must
    for ((number = 1; number <= transfers; number++)); do
        if [[ $(backend_of_transfer "$number") == "$1" ]]; then
            on_dead=$((on_dead + 1))
        elif [[ $(cat "$work/transfer$number.sum") == "$expected" ]]; then
            on_others=$((on_others + 1))
        else
            fail "a transfer from $(backend_of_transfer "$number") broke off when $1 died"
        fi
    done
    ((on_others > 0)) || fail "no transfer ran on the other backends"
    say "  $on_others slow transfers on the others did not notice ($on_dead were on $1)"
}

kill_one_backend() {
    local victim killed last answers=$work/answers-after
    transfer_pids=()
    start_transfers
    wait_until 10 transfers_under_way || fail "$transfers slow transfers did not start"
    victim=$(backend_of_transfer 1)
    killed=$(milliseconds)
    kill_nginx "${victim#backend}"
    last=$(last_failure_after "$killed")
    ((last < 2000)) || fail "new connections still failed $last ms after $victim died"
    say "  $victim killed: new connections go to the others, none failed later than $last ms after"
    requests 4 30 >"$answers"
    [[ -z $(wrong_lines "$answers") ]] || fail "after $victim died: $(wrong_lines "$answers" | head -n 3)"
    ! grep -q "$victim" "$answers" || fail "the dead $victim answered"
    check_transfers "$victim"
    start_nginx "${victim#backend}"
    wait_until 10 backends_up 3 || fail "$victim came back, but the monitors do not see it"
    requests 4 60 >"$answers"
    [[ -z $(wrong_lines "$answers") ]] || fail "after $victim came back: $(wrong_lines "$answers" | head -n 3)"
    grep -q "$victim" "$answers" || fail "$victim came back, but no new connection goes there"
    say "  $victim started again: new connections go there, too"
}
