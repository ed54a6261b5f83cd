// A TCP proxy before a Redis or PostgreSQL server that delays requests, and cuts connections before a request gets through
// or after its answer was given.
import { once } from "node:events"
import { connect, createServer, type Server, type Socket } from "node:net"

/** What becomes of a request. Those that were sent before it and have no answer yet share its fate. */
export type Fate = "pass" | "delay" | "loseRequest" | "loseAnswer"

/** Calls of the stores: a script of Redis, and a function of PostgreSQL with the accounts or plans it is for. */
const calls = /EVALSHA|"accounts":|"plans":/g

export class Proxy {
  /** What becomes of the next call only; `fate` decides on those after it. */
  next: Fate = "pass"
  fate: () => Fate = () => "pass"
  /** Where connections go that are opened from now on. */
  to: number
  cuts = 0
  /** Calls of which nobody was told whether they were applied. */
  lost = 0
  private readonly server: Server
  private readonly sockets = new Set<Socket>()

  private constructor(to: number) {
    this.to = to
    this.server = createServer((client) => this.open(client))
  }

  static async start(to: number): Promise<Proxy> {
    const proxy = new Proxy(to)
    proxy.server.listen(0, "127.0.0.1")
    await once(proxy.server, "listening")
    return proxy
  }

  get port(): number {
    const address = this.server.address()
    return typeof address === "object" && address !== null ? address.port : 0
  }

  /** Ends all connections that are open. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy()
  }

  async stop(): Promise<void> {
    this.cut()
    this.server.close()
    await once(this.server, "close")
  }

  private open(client: Socket): void {
    const upstream = connect(this.to, "127.0.0.1")
    let unanswered = 0
    let isSilent = false
    const cut = () => {
      if (!client.destroyed) client.resetAndDestroy()
      upstream.destroy()
    }
    for (const socket of [client, upstream]) {
      socket.setNoDelay(true)
      this.sockets.add(socket)
      socket.on("error", cut)
      socket.on("close", () => {
        this.sockets.delete(socket)
        cut()
      })
    }
    const lose = () => {
      this.cuts++
      this.lost += unanswered
      unanswered = 0
      cut()
    }
    client.on("data", (data) => {
      const asked = data.toString("latin1").match(calls)?.length ?? 0
      const fate = asked === 0 || isSilent ? "pass" : this.next === "pass" ? this.fate() : this.next
      if (asked > 0) this.next = "pass"
      unanswered += asked
      switch (fate) {
        case "loseRequest":
          return lose()
        case "loseAnswer":
          isSilent = true
          break
        case "delay":
          // Nothing overtakes it.
          client.pause()
          setTimeout(() => {
            upstream.write(data)
            client.resume()
          }, 20)
          return
      }
      upstream.write(data)
    })
    // The server has answered, so it has applied what was asked.
    upstream.on("data", (data) => {
      if (isSilent) return lose()
      unanswered = 0
      client.write(data)
    })
  }
}
