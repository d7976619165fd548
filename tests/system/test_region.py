"""G6: the region is a wall, tried from both sides."""

from __future__ import annotations

import shutil

import pytest
import redis
from homeport import WrongRegion, codes, frames
from homeport.ids import direct_conversation

from gateway.security.keyring import Keyring
from gateway.store.keys import Keys
from tests.chunks import chunk_of
from tests.harness import RawClient
from tests.system.site import OpenSite, refused, ws


async def test_a_record_copied_across_cannot_be_opened(open_site: OpenSite) -> None:
    """G5, G6: eu's client is told that the number is lost, is never given what sg stored, and
    gets what comes after it."""
    sites = [await open_site(region) for region in ("sg", "eu")]
    gateways = [await site.gateway() for site in sites]
    for site, gateway in zip(sites, gateways, strict=True):
        async with RawClient.open(ws(gateway)) as alice:
            await alice.connect(site.token("alice"))
            assert isinstance(await alice.say("bob", f"for {site.region}", "same-id"), frames.Ok)
    talk = direct_conversation("alice", "bob")
    heads = [Keys(site.region).conversation(site.app.id, talk).head for site in sites]
    with (
        redis.Redis.from_url(sites[0].store.url) as sg,
        redis.Redis.from_url(sites[1].store.url) as eu,
    ):
        foreign = sg.hget(chunk_of(sg, heads[0]), "1")
        own = eu.hget(chunk_of(eu, heads[1]), "1")
        assert isinstance(foreign, bytes)
        assert isinstance(own, bytes)
        foreign = foreign[:2] + own[2:8] + foreign[8:]  # its time is what a reference knows of it
        assert eu.hset(chunk_of(eu, heads[1]), "1", foreign) == 0  # it takes the place of eu's own
    site, gateway = sites[1], gateways[1]
    async with RawClient.open(ws(gateway)) as bob, RawClient.open(ws(gateway)) as alice:
        connected = await bob.connect(site.token("bob"))
        assert connected.cursor.number == 0
        assert await bob.receive() == frames.Lost(1, 1)
        await alice.connect(site.token("alice"))
        assert isinstance(await alice.say("bob", "after it"), frames.Ok)
        push = await bob.expect(frames.Push)
        assert (push.seq, push.message.body) == (2, b"after it")
    assert "record_tampered" in site.log.read_text()


async def test_a_gateway_refuses_another_regions_store(open_site: OpenSite) -> None:
    """G6: an eu gateway, with eu's key file, on the Redis that sg has stamped."""
    sg, eu = await open_site("sg"), await open_site("eu")
    assert refused(eu.config("wrong", redis_url=sg.store.url)) == (
        "homeport: this Redis belongs to region 'sg', and this gateway to 'eu': "
        "point redis_url at the Redis of 'eu', or set region to 'sg'"
    )


async def test_a_gateway_refuses_another_regions_key_file(open_site: OpenSite) -> None:
    """G6: an eu gateway on its own Redis, with the key file of sg."""
    sg, eu = await open_site("sg"), await open_site("eu")
    theirs = sg.settings().key_file
    assert refused(eu.config("wrong", key_file=theirs)) == (
        f"homeport: {theirs} is the keyring of region sg, and this is region eu; "
        "use eu's own keyring"
    )


@pytest.mark.parametrize("rotated", [False, True])
async def test_a_gateway_refuses_a_key_file_that_is_not_the_stores(
    open_site: OpenSite, rotated: bool
) -> None:
    """G6: the right region, but other keys; or an old copy, from before a rotation."""
    site = await open_site("eu")
    other = site.folder / "other.json"
    if rotated:
        shutil.copy(site.settings().key_file, other)
        Keyring.rotate(site.settings().key_file)
        (await site.gateway()).kill()
        problem = "has no version 2, which this Redis' data was sealed with"
    else:
        Keyring.create(other, "eu")
        problem = "has another key as version 1 than this Redis' data was sealed with"
    assert refused(site.config("wrong", key_file=other)) == (
        f"homeport: the key file {problem}: set key_file to this region's own key file"
    )


async def test_a_token_of_another_region_is_sent_home(open_site: OpenSite) -> None:
    """G6, HP-5.1-7: `wrong_region` with the home's URL, then 4506; the SDK does not come back."""
    sg, eu = await open_site("sg"), await open_site("eu")
    home = "wss://sg.example.com/v1"
    gateway = await eu.gateway(directory={"sg": home})
    token = sg.token("alice")
    async with RawClient.open(ws(gateway)) as alice:
        await alice.send(frames.Connect(7, "phone", token))
        error = await alice.expect(frames.Error)
        assert (error.id, error.code) == (7, codes.WRONG_REGION.number)
        assert error.text == codes.WRONG_REGION.meaning
        assert error.details == {"region": "sg", "url": home}
        assert await alice.closed() == codes.HOME_ELSEWHERE.number
    with pytest.raises(WrongRegion) as raised:
        async with sg.client(ws(gateway), "alice"):
            pass
    assert (raised.value.region, raised.value.url) == ("sg", home)
    assert token not in eu.log.read_text()
