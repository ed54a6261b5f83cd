// A proxy in front of a database that cuts connections: before a request gets through, or after its answer was given.
import { once } from "node:events"
import { connect, createServer, type Server, type Socket } from "node:net"

export class Proxy {
  /** What becomes of the next request: the first that is sent on a connection while this is set. */
  next: "pass" | "loseRequest" | "loseAnswer" = "pass"
  cuts = 0
  private readonly server: Server
  private readonly sockets = new Set<Socket>()

  private constructor(port: number) {
    this.server = createServer((client) => {
      const upstream = connect(port, "127.0.0.1")
      const cut = () => {
        client.destroy()
        upstream.destroy()
      }
      let silent = false
      for (const socket of [client, upstream]) {
        socket.setNoDelay(true)
        this.sockets.add(socket)
        socket.on("error", cut)
        socket.on("close", () => {
          this.sockets.delete(socket)
          cut()
        })
      }
      client.on("data", (data) => {
        // A request that calls one of our functions is the binding of a prepared statement.
        const isCall = data.includes('"accounts":') || data.includes('"plans":')
        if (isCall && this.next !== "pass") {
          this.cuts++
          const lost = this.next
          this.next = "pass"
          if (lost === "loseRequest") return cut()
          silent = true
        }
        upstream.write(data)
      })
      upstream.on("data", (data) => (silent ? cut() : client.write(data)))
    })
  }

  static async start(port: number): Promise<Proxy> {
    const proxy = new Proxy(port)
    proxy.server.listen(0, "127.0.0.1")
    await once(proxy.server, "listening")
    return proxy
  }

  get port(): number {
    const address = this.server.address()
    return typeof address === "object" && address !== null ? address.port : 0
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy()
    this.server.close()
    await once(this.server, "close")
  }
}
