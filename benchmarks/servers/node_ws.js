// The `ws` package on Node.js: node node_ws.js [--task echo|broadcast] [--deflate]
"use strict";
const { WebSocketServer } = require("ws");

const broadcasts = process.argv.includes("broadcast");
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  maxPayload: 2 ** 25,
  perMessageDeflate: process.argv.includes("--deflate") && {
    serverMaxWindowBits: 12,
    clientMaxWindowBits: 12,
    zlibDeflateOptions: { level: 6, memLevel: 5 },
  },
});
server.on("listening", () => console.log(server.address().port));
server.on("connection", (socket) => {
  socket.on("error", () => {});
  socket.on("message", (data, binary) => {
    for (const receiver of broadcasts ? server.clients : [socket]) {
      receiver.send(data, { binary });
    }
  });
});
