"""What the end of a connection means, without a loop."""

from __future__ import annotations

import ssl

import pytest
from homeport import codes
from homeport.client.ending import Ended, Retry, is_misconfigured, judge
from homeport.client.errors import ClientClosed, TokenRefused, WrongRegion
from homeport.frames import Error
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus, NegotiationError
from websockets.http11 import Response

TOKEN_CODES = [e.number for e in codes.ERRORS.values() if e.retry is codes.Retry.NEW_TOKEN]


def verdict(ended: Ended, *, can_renew: bool = True, token_is_new: bool = False) -> Retry:
    """`judge`, mostly of a client that can get tokens and uses an old one."""
    return judge(ended, can_renew=can_renew, token_is_new=token_is_new)


@pytest.mark.parametrize("code", [4000, 4002, 4003, 4005, 4006, 4321, 1000, 1001, 1005, 1006, 1011])
def test_come_back(code: int) -> None:
    """HP-8.2-1, HP-8.2-3: at once but for the backoff, with the same token."""
    retry = verdict(Ended(code, "why"))
    assert (retry.code, retry.after, retry.new_token) == (code, 0.0, False)
    assert retry.reason == "why"


@pytest.mark.parametrize("code", [4500, 4501, 4502, 4503, 4504, 4505, 4507, 4999, 1002, 1008, 1009])
def test_stay_away(code: int) -> None:
    """HP-8.2-2: final, and says why where the server did not."""
    with pytest.raises(ClientClosed) as caught:
        verdict(Ended(code, ""))
    assert caught.value.code == code
    if code in codes.CLOSES:
        assert caught.value.reason == codes.CLOSES[code].meaning


def test_goaway_tells_when() -> None:
    """HP-8.3-2: also when the connection is cut before its close."""
    assert verdict(Ended(4000, "", reconnect_in=7.0)).after == 7.0
    assert verdict(Ended(1006, "", reconnect_in=7.0)).after == 7.0
    assert verdict(Ended(1006, "", fault="silence", reconnect_in=7.0)).after == 7.0


def test_an_expired_session_needs_a_new_token() -> None:
    """G8: 4004 with a way to get one, and without."""
    assert verdict(Ended(4004, "")).new_token
    with pytest.raises(TokenRefused, match="get_token") as caught:
        verdict(Ended(4004, ""), can_renew=False)
    assert (caught.value.error, caught.value.code) == ("token_expired", 4004)


@pytest.mark.parametrize("code", TOKEN_CODES)
def test_a_refused_token_is_replaced_once(code: int) -> None:
    """G8: a token that was just got for this connection is not asked for again."""
    ended = Ended(4501, "", Error(1, code, "no"))
    assert verdict(ended).new_token
    for can_renew, token_is_new in [(False, False), (True, True)]:
        with pytest.raises(TokenRefused, match=codes.ERRORS[code].name) as caught:
            verdict(ended, can_renew=can_renew, token_is_new=token_is_new)
        assert caught.value.error == codes.ERRORS[code].name


def test_the_wrong_region_says_where_to_go() -> None:
    """G6: the SDK does not follow; it tells the region, and the URL where known."""
    details = {"region": "sg", "url": "wss://sg.example"}
    with pytest.raises(WrongRegion, match=r"wss://sg\.example") as caught:
        verdict(Ended(4506, "", Error(1, 121, "elsewhere", None, details)))
    assert (caught.value.region, caught.value.url) == ("sg", "wss://sg.example")
    with pytest.raises(WrongRegion) as caught:
        verdict(Ended(4506, "", Error(1, 121, "elsewhere", None, {"region": "sg"})))
    assert (caught.value.region, caught.value.url) == ("sg", None)


def test_a_store_that_is_away_is_waited_for() -> None:
    """HP-8.3-2: `retry_after` of the error before the close."""
    assert verdict(Ended(4001, "", Error(1, 140, "away", 5.0))).after == 5.0
    assert verdict(Ended(4001, "", Error(1, 140, "away"))).after == 0.0


@pytest.mark.parametrize("code", [codes.UNKNOWN_APP.number, codes.INVALID_FIELD.number, 9999])
def test_another_refusal_is_final(code: int) -> None:
    """HP-8.1-1: even where the connection then ended in a way that would allow a reconnect."""
    with pytest.raises(ClientClosed, match=f"{code}"):
        verdict(Ended(4005, "", Error(1, code, "no")))


def test_a_fault_seen_here_is_retried() -> None:
    """A gap or silence: whatever code the dropped connection then shows."""
    retry = verdict(Ended(1002, "", fault="number 5 came where 4 was due"))
    assert retry.reason == "number 5 came where 4 was due"


@pytest.mark.parametrize(
    ("status", "misconfigured"),
    [(302, True), (400, True), (403, True), (404, True), (408, False), (429, False), (503, False)],
)
def test_which_http_answers_can_not_mend(status: int, misconfigured: bool) -> None:
    """A wrong path or origin is for a person; an overloaded balancer is not."""
    error = InvalidStatus(Response(status, "", Headers()))
    assert is_misconfigured(error) is misconfigured


def test_which_other_errors_can_not_mend() -> None:
    """A certificate that does not verify, a server that is no Homeport; a refused port can mend."""
    assert is_misconfigured(ssl.SSLCertVerificationError())
    assert is_misconfigured(NegotiationError())
    assert not is_misconfigured(ConnectionRefusedError())
    assert not is_misconfigured(TimeoutError())
