// An end of a connection of Node's `ws` package, in the hands of a test: each line of standard
// input is a command, each line of standard output an event, both JSON. It ends with its input.
"use strict";
const fs = require("fs");
const https = require("https");
const readline = require("readline");
const { WebSocket, WebSocketServer } = require("ws");

let socket;

const say = (event, value) => process.stdout.write(JSON.stringify([event, value]) + "\n");
const encoded = (data, binary) => (binary ? { base64: data.toString("base64") } : String(data));
const decoded = (data) => (typeof data === "string" ? data : Buffer.from(data.base64, "base64"));

function adopt(opened) {
  socket = opened;
  socket.on("message", (data, binary) => say("message", encoded(data, binary)));
  socket.on("pong", (data) => say("pong", encoded(data, true)));
  socket.on("close", (code, reason) => say("close", [code, String(reason)]));
  socket.on("error", () => {}); // "close" follows, and tells
}

const sayOpen = () => say("open", [socket.protocol, socket.extensions]);

const commands = {
  connect(url, protocols, perMessageDeflate, authority) {
    const ca = authority === null ? undefined : fs.readFileSync(authority);
    adopt(new WebSocket(url, protocols, { perMessageDeflate, ca }));
    socket.on("open", sayOpen);
    socket.on("unexpected-response", (request, response) => {
      say("refused", response.statusCode);
      request.destroy();
    });
  },
  serve(protocols, perMessageDeflate, status, files) {
    const [cert, key] = (files ?? []).map((file) => fs.readFileSync(file));
    const listening = files === null ? null : https.createServer({ cert, key });
    const where = listening === null ? { host: "127.0.0.1", port: 0 } : { server: listening };
    const server = new WebSocketServer({
      ...where,
      perMessageDeflate,
      handleProtocols: (offered) => protocols.find((one) => offered.has(one)) ?? false,
      verifyClient: (request, answer) => answer(status === null, status, "go away\n"),
    });
    listening?.listen(0, "127.0.0.1");
    server.on("listening", () => say("listening", server.address().port));
    server.on("connection", (opened) => {
      adopt(opened);
      sayOpen();
    });
  },
  send(data) {
    socket.send(decoded(data));
  },
  sendParts(parts, binary) {
    parts.forEach((part, index) =>
      socket.send(decoded(part), { binary, fin: index === parts.length - 1 })
    );
  },
  ping(payload) {
    socket.ping(decoded(payload));
  },
  close(code, reason) {
    socket.close(code, reason);
  },
};

const input = readline.createInterface({ input: process.stdin });
input.on("line", (line) => {
  const [command, ...values] = JSON.parse(line);
  commands[command](...values);
});
input.on("close", () => process.exit());
