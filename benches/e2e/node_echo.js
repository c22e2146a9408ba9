// A server of the ws package that compresses everything and echoes in fragments with pauses between, so that
// a drain meets messages that are half sent. `node_echo.js PORT NAME PACKAGES` answers each line on stdin with
// what it has seen: sockets, how they ended by code, and every error event.
'use strict';

const path = require('path');
const readline = require('readline');

const [port, name, packages] = process.argv.slice(2);
const { WebSocketServer } = require(path.join(packages, 'node_modules', 'ws'));

const FRAGMENTS = 3;
const PAUSE_MS = 20;
const seen = { opened: 0, messages: 0, closes: {}, errors: [] };

const failed = (where) => (error) => seen.errors.push(`${where}: ${error.code || ''} ${error.message}`);
const pause = () => new Promise((done) => setTimeout(done, PAUSE_MS));

async function echo(socket, data, binary) {
  const size = Math.ceil(data.length / FRAGMENTS) || 1;
  for (let part = 0; part < FRAGMENTS; part += 1) {
    if (part) await pause();
    // Who has gone meanwhile is told by the close event; sending to it is no error.
    socket.send(data.subarray(part * size, (part + 1) * size), { binary, fin: part === FRAGMENTS - 1 }, () => {});
  }
  seen.messages += 1;
}

const server = new WebSocketServer({
  host: '127.0.0.1', port: Number(port), perMessageDeflate: { threshold: 0 }, maxPayload: 1 << 24,
});
server.on('error', failed('server'));
server.on('wsClientError', failed('handshake'));
server.on('headers', (headers) => headers.push(`X-Server: ${name}`));
server.on('connection', (socket) => {
  let before = Promise.resolve();
  seen.opened += 1;
  socket.on('error', failed('socket'));
  socket.on('close', (code, reason) => {
    const key = `${code} ${reason}`.trim();
    seen.closes[key] = (seen.closes[key] || 0) + 1;
  });
  socket.on('message', (data, binary) => {
    before = before.then(() => echo(socket, data, binary)).catch(failed('echo'));
  });
});

readline.createInterface({ input: process.stdin })
  .on('line', () => console.log(JSON.stringify(seen)))
  .on('close', () => process.exit(0));
