// The Socket.IO side of `bench compare`: rooms, and users as rooms of one, with the Redis adapter.
// Usage: node server.mjs REDIS_URL. Prints its port when it accepts.

import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const publisher = createClient({ url: process.argv[2] });
const subscriber = publisher.duplicate();
await Promise.all([publisher.connect(), subscriber.connect()]);

const http = createServer();
const io = new Server(http, {
  adapter: createAdapter(publisher, subscriber),
  transports: ["websocket"],
  serveClient: false,
});

io.on("connection", (socket) => {
  socket.on("join", async (room, done) => {
    await socket.join(room);
    done();
  });
  socket.on("msg", (room, body) => io.to(room).emit("msg", body));
});

http.listen(0, "127.0.0.1", () => console.log(http.address().port));
