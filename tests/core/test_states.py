"""The transition table, and every pair of phase and step driven through a real connection."""

import re
from collections.abc import Callable

import pytest
from wire import ROLES, AnyConnection, encode, inside, open_end, receive

from kit.frames import CLOSE, FIN, Frame
from wscore import ClientConnection, LocalProtocolError, Phase, Response, ServerConnection, State
from wscore.states import MAY_PONG, MAY_RECEIVE, MAY_SEND, OWES_CLOSE, STATES, TRANSITIONS, Step

both_roles = pytest.mark.parametrize("role", ROLES)
every_phase = pytest.mark.parametrize("phase", Phase)
every_step = pytest.mark.parametrize("step", Step)


# The table alone.


def test_it_is_whole() -> None:
    assert set(TRANSITIONS) == set(STATES) == set(Phase)
    assert set(STATES.values()) == set(State)


def reachable(start: Phase) -> set[Phase]:
    """Where steps that change the phase can lead from there."""
    reached: set[Phase] = set()
    front = {start}
    while front:
        front = {
            after for phase in front for after in TRANSITIONS[phase].values() if after != phase
        }
        front -= reached
        reached |= front
    return reached


def test_every_phase_can_be_reached() -> None:
    assert reachable(Phase.CONNECTING) == set(Phase) - {Phase.CONNECTING}


def test_every_step_can_be_taken() -> None:
    assert {step for steps in TRANSITIONS.values() for step in steps} == set(Step)


@every_phase
def test_nothing_comes_back(phase: Phase) -> None:
    assert phase not in reachable(phase)
    for after in reachable(phase):
        assert STATES[after] >= STATES[phase]
    assert (reachable(phase) == set()) is (phase is Phase.CLOSED)


@every_phase
def test_what_the_sets_say_the_table_allows(phase: Phase) -> None:
    steps = TRANSITIONS[phase]
    assert (Step.SEND_CLOSE in steps) is (phase in MAY_SEND)
    assert (Step.RECEIVE_CLOSE in steps) is (phase in MAY_RECEIVE)
    assert (phase in MAY_PONG) is (phase in MAY_SEND or phase in MAY_RECEIVE)
    assert (Step.FAIL in steps) is (phase in MAY_RECEIVE)
    assert (Step.ACCEPT in steps) is (Step.REFUSE in steps) is (phase is Phase.CONNECTING)
    assert steps[Step.LOSE] is Phase.CLOSED
    assert Step.END_OF_INPUT in steps
    if phase in OWES_CLOSE:
        assert steps[Step.SEND_CLOSE] is Phase.ENDING
        assert STATES[phase] is State.CLOSING


# Through a real connection.


def connecting(role: str) -> AnyConnection:
    """A server that has its request, a client that has sent its own."""
    client = ClientConnection("example.com")
    if role == "client":
        return client
    server = ServerConnection()
    server.receive_data(client.data_to_send())
    return server


GOODBYE = Frame(FIN | CLOSE, b"\x03\xe8")
WRONG = Frame(FIN | 3)


def brought_to(phase: Phase, role: str) -> AnyConnection:
    """A connection that stands there, by nothing but calls that anybody may make."""
    if phase is Phase.CONNECTING:
        return connecting(role)
    connection = open_end(role)
    if phase in (Phase.CLOSE_SENT, Phase.ENDING):
        connection.send_close()
    if phase in (Phase.CLOSE_RECEIVED, Phase.ENDING):
        receive(connection, encode([GOODBYE], role))
    if phase is Phase.FAILED:
        receive(connection, encode([WRONG], role))
    if phase is Phase.CLOSED:
        connection.connection_lost()
    assert connection.phase is phase
    connection.data_to_send()
    return connection


@both_roles
@every_phase
@every_step
def test_the_gate(step: Step, phase: Phase, role: str) -> None:
    """The one place that changes the phase asks the table, and refuses what is not in it."""
    connection = brought_to(phase, role)
    before = inside(connection)
    if step in TRANSITIONS[phase]:
        assert connection._move(step) is phase
        assert connection.phase is TRANSITIONS[phase][step]
        assert connection.state is STATES[connection.phase]
        assert connection.may_send is (connection.phase in MAY_SEND)
        assert connection.may_pong is (connection.phase in MAY_PONG)
        assert connection.owes_close is (connection.phase in OWES_CLOSE)
    else:
        message = f"{step.name} is not possible in phase {phase.name}"
        with pytest.raises(LocalProtocolError, match=message):
            connection._move(step)
        assert inside(connection) == before


Take = Callable[[AnyConnection, str], object]


def accept(connection: AnyConnection, role: str) -> None:
    assert isinstance(connection, ServerConnection)
    connection.accept()


def reject(connection: AnyConnection, role: str) -> None:
    assert isinstance(connection, ServerConnection)
    connection.reject(Response(404))


CALLERS: dict[Step, list[Take]] = {
    Step.ACCEPT: [accept],
    Step.REFUSE: [reject],
    Step.SEND_CLOSE: [
        lambda connection, role: connection.send_close(),
        lambda connection, role: connection.acknowledge_close(),
    ],
}
PEERS: dict[Step, list[Take]] = {
    Step.RECEIVE_CLOSE: [lambda c, role: c.receive_data(encode([GOODBYE], role))],
    Step.FAIL: [lambda c, role: c.receive_data(encode([WRONG], role))],
    Step.END_OF_INPUT: [lambda connection, role: connection.receive_eof()],
    Step.LOSE: [lambda connection, role: connection.connection_lost()],
}


def test_every_step_has_its_calls() -> None:
    assert CALLERS.keys() | PEERS.keys() == set(Step)


@both_roles
@every_phase
@pytest.mark.parametrize("step", CALLERS)
def test_what_the_caller_does(step: Step, phase: Phase, role: str) -> None:
    """It is possible, or refused as the caller's mistake, which changes nothing."""
    if role == "client" and step is not Step.SEND_CLOSE:
        assert not hasattr(ClientConnection, "accept")
        assert not hasattr(ClientConnection, "reject")
        return
    for call in CALLERS[step]:
        connection = brought_to(phase, role)
        before = inside(connection)
        acknowledges = call is CALLERS[Step.SEND_CLOSE][1]
        if step in TRANSITIONS[phase] and not (acknowledges and phase not in OWES_CLOSE):
            call(connection, role)
            assert connection.phase is TRANSITIONS[phase][step]
        else:
            with pytest.raises(LocalProtocolError):
                call(connection, role)
            assert inside(connection) == before


@both_roles
@every_phase
@pytest.mark.parametrize("step", PEERS)
def test_what_the_peer_does(step: Step, phase: Phase, role: str) -> None:
    """It leads where the table says, or nowhere, and never raises."""
    [call] = PEERS[step]
    connection = brought_to(phase, role)
    call(connection, role)
    after = TRANSITIONS[phase].get(step, phase)
    if phase is Phase.CONNECTING and role == "client" and step is not Step.LOSE:
        after = Phase.ENDING  # none of it is a response
    assert connection.phase is after


@both_roles
def test_a_refusal_names_phase_and_step(role: str) -> None:
    connection = brought_to(Phase.CLOSED, role)
    with pytest.raises(
        LocalProtocolError, match=re.escape("ACCEPT is not possible in phase CLOSED")
    ):
        connection._move(Step.ACCEPT)
