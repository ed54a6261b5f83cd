// A TCP proxy that cuts connections between a request and its reply.
import { connect, createServer, type Socket } from "node:net"

export interface Proxy {
  readonly port: number
  /** Cuts a connection after every n-th request was passed on, without its reply; 0 for never. */
  readonly cutEvery: (requests: number) => void
  readonly cuts: () => number
  /** Requests that were passed on and of which the answer was lost. */
  readonly lost: () => number
  readonly end: () => Promise<void>
}

export const startProxy = (to: number): Promise<Proxy> => {
  let every = 0
  let requests = 0
  let cuts = 0
  let lost = 0
  const sockets = new Set<Socket>()
  const server = createServer((inside) => {
    const outside = connect(to, "127.0.0.1")
    let isCut = false
    let unanswered = 0
    for (const socket of [inside, outside]) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on("error", () => {})
      socket.on("close", () => {
        sockets.delete(socket)
        inside.destroy()
        if (!isCut) outside.destroy()
      })
    }
    inside.on("data", (data) => {
      outside.write(data)
      const asked = data.toString("latin1").split("EVALSHA").length - 1
      unanswered += asked
      requests += asked
      if (every > 0 && asked > 0 && requests >= every) {
        requests = 0
        isCut = true
        cuts++
      }
    })
    // The server has answered, so it has applied what was asked: now the answer is lost.
    outside.on("data", (data) => {
      if (isCut) {
        lost += unanswered
        unanswered = 0
        inside.resetAndDestroy()
        outside.destroy()
      } else {
        unanswered = 0
        inside.write(data)
      }
    })
  })
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      resolve({
        port: typeof address === "object" && address !== null ? address.port : 0,
        cutEvery: (requests) => (every = requests),
        cuts: () => cuts,
        lost: () => lost,
        end: () =>
          new Promise((done) => {
            for (const socket of sockets) socket.destroy()
            server.close(() => done())
          })
      })
    })
  })
}
