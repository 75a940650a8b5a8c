"""Tests of uvicorn that do not apply to our class, by the beginning of their names, and why."""

_WORDING = "it compares the wording of a message or a reason"
_LOST = "it expects a lost connection, where ours closes: 1000 after a return, 1011 after an error"
_AT_ONCE = (
    "uvicorn skips it for its own class over websockets: start and body of a denial leave together"
)
_INTERNALS = "it asks for uvicorn's own classes, or for attributes that only they have"
_MOCK = (
    "it sets and reads attributes of uvicorn's own classes, over a transport that only they can use"
)

INAPPLICABLE = {
    "test_keepalive_timeout_with_pipelined_websocket_upgrade[httptools": (
        "uvicorn skips it for httptools, which never upgrades with the keep-alive timer armed"
    ),
    "test_invalid_upgrade": _WORDING,
    "test_server_keepalive_ping_timeout": _WORDING,
    "test_duplicate_handshake": _LOST,
    "test_asgi_return_value": _LOST,
    "test_close_transport_on_asgi_return": _LOST,
    "test_server_reject_connection_with_invalid_msg": _AT_ONCE,
    "test_server_reject_connection_with_missing_body": _AT_ONCE,
    "test_server_multiple_websocket_http_response_start_events": _AT_ONCE,
    "test_frame_after_close_handshake_is_ignored": _INTERNALS,
    "test_server_keepalive_ping_pong": _INTERNALS,
    "test_server_keepalive_disabled": _INTERNALS,
    "test_send_respects_write_backpressure": _MOCK,
    "test_close_waits_for_the_peer_close_frame": _MOCK,
    "test_close_resumes_reads_paused_on_an_unconsumed_message": _MOCK,
    "test_data_frame_while_closing_does_not_pause_reads": _MOCK,
    "test_data_frame_and_peer_close_frame_in_one_read": _MOCK,
    "test_ping_while_closing": _MOCK,
    "test_close_gives_up_when_the_peer_never_replies": _MOCK,
    "test_connection_lost_cancels_the_pending_close_timer": _MOCK,
    "test_shutdown_while_the_close_reply_is_pending": _MOCK,
    "test_send_after_peer_close_raises_client_disconnected": _MOCK,
    "test_connection_lost_unblocks_paused_send": _MOCK,
}
