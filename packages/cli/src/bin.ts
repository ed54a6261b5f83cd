#!/usr/bin/env node
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Stdio from "effect/Stdio"
import { run } from "./Headgate.ts"

Stdio.Stdio.use(({ args }) => Effect.flatMap(args, run)).pipe(Effect.provide(NodeServices.layer), NodeRuntime.runMain)
