"""What runs on the server, each in one step that no other client interrupts: scripts in Lua."""

import hashlib
from collections.abc import Sequence

from .link import Command, Link
from .resp import Argument, ErrorReply, Reply

# Its keys, and its other arguments.
Call = tuple[tuple[Argument, ...], tuple[Argument, ...]]

# A room's head is a hash: the epoch, the offset of its newest message, the run of the server that
# wrote there last, and whether that run loses nothing when it ends. ARGV[1] and ARGV[2] are that of
# the run now. Where a run has ended that may have lost messages, a new epoch begins. The server
# chooses its name. KEYS[2] is the room's log.
_HEAD = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local head = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'run', 'keeps')
local epoch, offset = head[1], tonumber(head[2])
local keeps = head[4] == '1' and ARGV[2] == '1'
if not epoch or (head[3] ~= ARGV[1] and not keeps) then
    epoch = string.sub(ARGV[1], 1, 8) .. '-' .. time[1] .. string.format('%06d', time[2])
    offset = 0
    redis.call('DEL', KEYS[2])
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'offset', 0, 'run', ARGV[1], 'keeps', ARGV[2])
    redis.call('PEXPIRE', KEYS[1], 3600000)
elseif head[3] ~= ARGV[1] or (head[4] == '1' and not keeps) then
    redis.call('HSET', KEYS[1], 'run', ARGV[1], 'keeps', ARGV[2])
end
"""

# An entry of the log has the ID OFFSET-TIME, and one field: its name is the message's type.
_PUBLISH = """
if KEYS[3] then
    local first = redis.call('GET', KEYS[3])
    if first then return first end
end
%(head)s
local channel, kind, data = ARGV[3], ARGV[4], ARGV[5]
local history, kept = tonumber(ARGV[6]), tonumber(ARGV[7])
offset = redis.call('HINCRBY', KEYS[1], 'offset', 1)
local place = string.format('%%s.%%.0f', epoch, offset)
if history > 0 then
    local id = string.format('%%.0f-%%.0f', offset, now)
    redis.call('XADD', KEYS[2], 'MAXLEN', '=', history, id, kind, data)
    redis.call('PEXPIRE', KEYS[2], kept)
    while true do
        local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1][1]
        if tonumber(string.match(oldest, '%%d+$')) > now - kept then break end
        redis.call('XDEL', KEYS[2], oldest)
    end
else
    redis.call('DEL', KEYS[2])
end
redis.call('PEXPIRE', KEYS[1], math.max(kept, 3600000), 'GT')
if KEYS[3] then
    redis.call('SET', KEYS[3], place, 'PX', 2 * kept)
end
redis.call('PUBLISH', channel, kind .. place .. ' ' .. data)
return place
"""

# Most looks write nothing, which would go to replicas and to the disk.
_POSITION = """
%(head)s
if redis.call('PTTL', KEYS[1]) < 1800000 then
    redis.call('PEXPIRE', KEYS[1], 3600000)
end
return string.format('%%s.%%.0f', epoch, offset)
"""

# At most ARGV[5] messages, and no more after ARGV[6] bytes of them. Without a gap, so that the
# first offset gives all others.
_READ = """
%(head)s
local since, most, bytes = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local reply = {string.format('%%s.%%.0f', epoch, offset), 0}
if ARGV[3] ~= epoch or since > offset then return reply end
local last = since
while last < offset and last - since < most and bytes > 0 do
    local count = math.min(16, most - (last - since))
    local start = string.format('%%.0f-0', last + 1)
    local entries = redis.call('XRANGE', KEYS[2], start, '+', 'COUNT', count)
    if #entries == 0 then return {reply[1], 0} end
    for _, entry in ipairs(entries) do
        if tonumber(string.match(entry[1], '^%%d+')) ~= last + 1 then return {reply[1], 0} end
        if bytes <= 0 then break end
        last = last + 1
        reply[#reply + 1] = entry[2][1]
        reply[#reply + 1] = entry[2][2]
        bytes = bytes - #entry[2][2]
    end
end
reply[2] = 1
return reply
"""

# KEYS: the members that a process (ARGV[1]) has in a room, and the processes that have any there.
# ARGV[2] is their lease. Returns 0 if there are no members.
_ENTER = """
if #ARGV > 2 then
    redis.call('HSET', KEYS[1], unpack(ARGV, 3))
end
if redis.call('PEXPIRE', KEYS[1], ARGV[2]) == 0 then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
"""


class Script:
    """A script, with its digest, by which a server that has it takes it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, link: Link, call: Call) -> Reply:
        """Run it, and have the server keep it. Raises BrokerLost, or ErrorReply."""
        [reply] = await self.run_all(link, [call])
        return reply

    async def run_all(self, link: Link, calls: Sequence[Call]) -> list[Reply]:
        """Run it several times, with one wait for all answers."""
        replies: list[Reply] = []
        answers = link.send(*(self._command("EVALSHA", self._digest, call) for call in calls))
        for call, answer in zip(calls, answers, strict=True):
            try:
                reply = await answer.get()
            except ErrorReply as error:
                if error.code != "NOSCRIPT":
                    raise
                # The server has forgotten the script, and so has not run it.
                reply = await link.ask(*self._command("EVAL", self._text, call))
            replies.append(reply)
        return replies

    @staticmethod
    def _command(name: str, script: str, call: Call) -> Command:
        keys, arguments = call
        return name, script, len(keys), *keys, *arguments


PUBLISH = Script(_PUBLISH % {"head": _HEAD})
POSITION = Script(_POSITION % {"head": _HEAD})
READ = Script(_READ % {"head": _HEAD})
ENTER = Script(_ENTER)
