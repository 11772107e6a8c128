import { render } from "preact";
import { App } from "./shell/app";
import { startTheme } from "./shell/theme";
import "./style.css";

// Before anything is drawn, so that nobody who chose the dark sees a flash of light.
startTheme();

// index.html has this element.
render(<App />, document.getElementById("app") as HTMLElement);
