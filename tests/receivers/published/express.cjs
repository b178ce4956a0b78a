// The sample listens where it is told to, not on the port that it names.
const { Server } = require('node:net');

process.stdin.resume().on('end', () => process.exit());

const { listen } = Server.prototype;
Server.prototype.listen = function () {
  return listen.call(this, Number(process.env.PORT), '127.0.0.1');
};
