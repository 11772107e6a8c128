import { type Device, requestDevice, ThalwegError } from "@thalweg/tensor";
import type { Command } from "commander";
import type { CommandContext } from "./context";

/** `thalweg devices`: the adapters that a run can use here. */
export function addDevicesCommand(program: Command, { terminal }: CommandContext): void {
  program
    .command("devices")
    .description("Show the GPU adapters of this machine: the one that runs use, and the software one.")
    .option("--json", "write the adapters as one JSON document on stdout")
    .action(async ({ json = false }: { readonly json?: boolean }) => {
      const rows = [];
      const missing: unknown[] = [];
      for (const adapter of ["auto", "software"] as const) {
        try {
          const device = await requestDevice({ adapter, notice: () => {} });
          rows.push({ use: adapter === "auto" ? "default" : "--adapter software", ...describeDevice(device) });
          device.destroy();
        } catch (error) {
          if (!(error instanceof ThalwegError)) throw error;
          missing.push(error);
        }
      }
      // Without any adapter the first error says what was tried and what to do.
      if (rows.length === 0) throw missing[0];
      if (json) terminal.out(`${JSON.stringify(rows, null, 2)}\n`);
      else terminal.out(rows.map(formatDevice).join("\n"));
    });
}

function describeDevice({ adapter, limits, features }: Device) {
  return { adapter, features: [...features].sort(), limits };
}

function formatDevice(row: ReturnType<typeof describeDevice> & { readonly use: string }): string {
  const { vendor, architecture, device, description, backend, isSoftware } = row.adapter;
  const name = [vendor, architecture, device, description].filter((part) => part !== "").join(" ");
  const lines = [
    `${row.use}: ${name}${isSoftware ? " (computes on the CPU)" : ""}`,
    ...(backend === "" ? [] : [`  backend   ${backend}`]),
    `  features  ${row.features.join(", ")}`,
    ...Object.entries(row.limits).map(([limit, value]) => `  ${limit} ${value}`),
  ];
  return `${lines.join("\n")}\n`;
}
