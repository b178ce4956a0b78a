// The sample listens where there is room, not on the port that it names, and says where that is.
const { Server } = require('node:net');

process.stdin.resume().on('end', () => process.exit());

const { listen } = Server.prototype;
Server.prototype.listen = function () {
  return listen.call(this, 0, '127.0.0.1', () => console.log(this.address().port));
};
