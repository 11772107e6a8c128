import { Command, CommanderError } from "commander";
import { addBenchCommand } from "./commands/bench";
import type { CommandContext } from "./commands/context";
import { addDataCommand } from "./commands/data";
import { addDevicesCommand } from "./commands/devices";
import { addListCommand } from "./commands/list";
import { addProfileCommand } from "./commands/profile";
import { addReportCommand } from "./commands/report";
import { addRunCommand } from "./commands/run";
import { describeFailure, exitCodeOf, exitCodes } from "./failure";
import type { Terminal } from "./terminal";

/**
 * The `thalweg` command.
 *
 * @param args the arguments after the name of the program.
 * @param version what `--version` answers.
 * @returns the exit code: 0, or 1 for a failure, 2 for a command line that asks for what does not exist, 3 if no run
 *   reached the target, 130 after Ctrl-C.
 */
export async function main(args: readonly string[], terminal: Terminal, version: string): Promise<number> {
  let exitCode: number = exitCodes.success;
  const setExitCode = (code: number) => {
    exitCode = code;
  };
  const program = createProgram(args, { terminal, setExitCode }, version);
  try {
    await program.parseAsync([...args], { from: "user" });
    return terminal.signal.aborted ? exitCodes.interrupted : exitCode;
  } catch (error) {
    // Commander has written its own message already.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.success : exitCodes.usage;
    if (terminal.signal.aborted) {
      terminal.error("stopped.\n");
      return exitCodes.interrupted;
    }
    terminal.error(`${describeFailure(error)}\n`);
    return exitCodeOf(error);
  }
}

function createProgram(args: readonly string[], context: CommandContext, version: string): Command {
  const { terminal } = context;
  const program = new Command("thalweg")
    .description("Compare training algorithms by the time they take to reach a target, on any GPU.")
    .version(version)
    .configureOutput({ writeOut: terminal.out, writeErr: terminal.error })
    .showHelpAfterError("Run the command with --help to see its options.")
    .exitOverride();
  addBenchCommand(program, context);
  addRunCommand(program, context, args);
  addReportCommand(program, context);
  addListCommand(program, context);
  addDevicesCommand(program, context);
  addProfileCommand(program, context);
  addDataCommand(program, context);
  return program;
}
