import { requestDevice, ThalwegError } from "@thalweg/tensor";
import type { Command } from "commander";
import type { DeviceDescription } from "../../browser/protocol";
import { UsageError } from "../../errors";
import { addPlaceOptions, browserOf, openBrowser, type PlaceFlags } from "../place";
import type { CommandContext } from "./context";

/** `thalweg devices`: the adapters that a run can use here. */
export function addDevicesCommand(program: Command, { terminal }: CommandContext): void {
  const command = program
    .command("devices")
    .description("Show the GPU adapters of this machine: the one that runs use, and the software one.");
  addPlaceOptions(command)
    .option("--json", "write the adapters as one JSON document on stdout")
    .action(async ({ json = false, ...place }: PlaceFlags & { readonly json?: boolean }) => {
      const rows = [];
      const missing: unknown[] = [];
      for (const adapter of ["auto", "software"] as const) {
        try {
          const use = adapter === "auto" ? "default" : "--adapter software";
          rows.push({ use, ...(await describeDevice(adapter, place)) });
        } catch (error) {
          // That there is no such browser is not news of an adapter.
          if (!(error instanceof ThalwegError) || error instanceof UsageError) throw error;
          missing.push(error);
        }
      }
      // Without any adapter the first error says what was tried and what to do.
      if (rows.length === 0) throw missing[0];
      if (json) terminal.out(`${JSON.stringify(rows, null, 2)}\n`);
      else terminal.out(rows.map(formatDevice).join("\n"));
    });
}

async function describeDevice(wanted: "auto" | "software", place: PlaceFlags): Promise<DeviceDescription> {
  const browser = browserOf(place);
  if (browser !== undefined) {
    await using session = await openBrowser(browser, { ...place, adapter: wanted });
    return await session.call("device", { adapter: wanted });
  }
  const device = await requestDevice({ adapter: wanted, notice: () => {} });
  const { adapter, features, limits } = device;
  device.destroy();
  return { adapter, features: [...features].sort(), limits };
}

function formatDevice(row: DeviceDescription & { readonly use: string }): string {
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
