import { optimizers } from "./registry";

/** One published method, and what there is of it here. */
export interface CatalogueEntry {
  /** As it is known in the literature. */
  readonly name: string;
  /** The authors; for methods that are here or planned also the title of the paper. */
  readonly source: string;
  readonly year: number;
  /** Whether it is in the list of published methods of Schmidt, Schneider & Hennig, 2021. */
  readonly isInStudy: boolean;
  readonly status: "implemented" | "planned" | "none";
  /** The name in {@link optimizers} of an implemented one. */
  readonly optimizer?: string;
  /** The function of an implemented one that is no gradient transformation but a training loop of its own. */
  readonly loop?: string;
}

/** Names in the registry of methods that the study lists. */
const implementedInStudy = [
  "sgd",
  "momentum",
  "nesterov",
  "adagrad",
  "adadelta",
  "rmsprop",
  "adam",
  "adamw",
  "amsgrad",
  "adamax",
  "nadam",
  "radam",
  "adabelief",
  "adabound",
  "amsbound",
  "yogi",
  "madgrad",
  "signSgd",
  "lars",
  "lamb",
  "novograd",
  "adafactor",
  "sm3",
  "shampoo",
  "lookaheadMomentum",
  "samMomentum",
  "kfac",
  "ekfac",
];

/** Name, year, source. */
type Line = readonly [name: string, year: number, source: string];

const plannedInStudy: readonly Line[] = [
  ["AdaHessian", 2020, "Yao et al., ADAHESSIAN: An Adaptive Second Order Optimizer for Machine Learning"],
  ["Adai", 2020, "Xie et al., Adaptive Inertia: Disentangling the Effects of Adaptive Learning Rate and Momentum"],
  ["AdamP", 2020, "Heo et al., AdamP: Slowing Down the Slowdown for Momentum Optimizers on Scale-invariant Weights"],
  ["SGDP", 2020, "Heo et al., AdamP: Slowing Down the Slowdown for Momentum Optimizers on Scale-invariant Weights"],
  ["ALI-G", 2020, "Berrada, Zisserman & Kumar, Training Neural Networks for and by Interpolation"],
  ["QHAdam", 2019, "Ma & Yarats, Quasi-hyperbolic momentum and Adam for deep learning"],
  ["QHM", 2019, "Ma & Yarats, Quasi-hyperbolic momentum and Adam for deep learning"],
];

const plannedBesides: readonly Line[] = [
  ["A2Grad", 2018, "Deng, Cheng & Lan, Optimal Adaptive and Accelerated Stochastic Gradient Descent"],
  ["ACProp", 2021, "Zhuang et al., Momentum Centering and Asynchronous Update for Adaptive Gradient Methods"],
  ["AdamG", 2024, "Pan et al., Towards Stability of Parameter-free Optimization"],
  ["Adam-mini", 2024, "Zhang et al., Adam-mini: Use Fewer Learning Rates To Gain More"],
  ["AggMo", 2019, "Lucas et al., Aggregated Momentum: Stability Through Passive Damping"],
  [
    "Amos",
    2022,
    "Tian & Parikh, Amos: An Adam-style Optimizer with Adaptive Weight Decay towards Model-Oriented Scale",
  ],
  [
    "Apollo",
    2020,
    "Ma, Apollo: An Adaptive Parameter-wise Diagonal Quasi-Newton Method for Nonconvex Stochastic Optimization",
  ],
  ["CASPR", 2024, "Duvvuri et al., Combining Axes Preconditioners through Kronecker Approximation for Deep Learning"],
  ["Cautious optimizers", 2024, "Liang et al., Cautious Optimizers: Improving Training with One Line of Code"],
  ["D-Adapted Lion", 2023, "Defazio & Mishchenko, Learning-Rate-Free Learning by D-Adaptation (authors' code)"],
  ["GaLore", 2024, "Zhao et al., GaLore: Memory-Efficient LLM Training by Gradient Low-Rank Projection"],
  [
    "Generalized primal averaging",
    2025,
    "Defazio et al., Smoothing DiLoCo with Primal Averaging for Faster Training of LLMs",
  ],
  ["MARS", 2024, "Yuan et al., MARS: Unleashing the Power of Variance Reduction for Training Large Models"],
  ["One-sided Shampoo", 2025, "Xie et al., Structured Preconditioners in Adaptive Optimization: A Unified Analysis"],
  ["PSGD", 2018, "Li, Preconditioned Stochastic Gradient Descent"],
  ["TRAC", 2024, "Muppidi, Zhang & Yang, Fast TRAC: A Parameter-Free Optimizer for Lifelong Reinforcement Learning"],
];

const othersInStudy: readonly Line[] = [
  ["AcceleGrad", 2018, "Levy et al."],
  ["ACClip", 2020, "Zhang et al."],
  ["AdaAlter", 2019, "Xie et al."],
  ["AdaBatch", 2017, "Devarakonda et al."],
  ["AdaBayes", 2020, "Aitchison"],
  ["AdaBlock", 2019, "Yun et al."],
  ["AdaComp", 2018, "Chen et al."],
  ["AdaFix", 2019, "Bae et al."],
  ["AdaFom", 2019, "Chen et al."],
  ["AdaFTRL", 2015, "Orabona & Pál"],
  ["AdaLoss", 2019, "Teixeira et al."],
  ["Adam+", 2020, "Liu et al."],
  ["AdamAL", 2019, "Tao et al."],
  ["AdamBS", 2020, "Liu et al."],
  ["AdamNC", 2018, "Reddi et al."],
  ["AdaMod", 2019, "Ding et al."],
  ["AdamT", 2020, "Zhou et al."],
  ["AdamX", 2019, "Tran & Phong"],
  ["ADAS", 2020, "Eliyahu"],
  ["AdaS", 2020, "Hosseini & Plataniotis"],
  ["AdaScale", 2020, "Johnson et al."],
  ["AdaSGD", 2020, "Wang & Wiens"],
  ["AdaShift", 2019, "Zhou et al."],
  ["AdaSqrt", 2019, "Hu et al."],
  ["Adathm", 2019, "Sun et al."],
  ["AdaX", 2020, "Li et al."],
  ["AEGD", 2020, "Liu & Tian"],
  ["AngularGrad", 2021, "Roy et al."],
  ["ArmijoLS", 2019, "Vaswani et al."],
  ["ARSG", 2019, "Chen et al."],
  ["AutoLRS", 2021, "Jin et al."],
  ["AvaGrad", 2019, "Savarese et al."],
  ["BAdam", 2018, "Salas et al."],
  ["BGAdam", 2019, "Bai & Zhang"],
  ["BPGrad", 2017, "Zhang et al."],
  ["BRMSProp", 2020, "Aitchison"],
  ["BSGD", 2020, "Hu et al."],
  ["C-ADAM", 2020, "Tutunov et al."],
  ["CADA", 2021, "Chen et al."],
  ["CoolMomentum", 2020, "Borysenko & Byshkin"],
  ["CProp", 2019, "Preechakul & Kijsirikul"],
  ["Curveball", 2019, "Henriques et al."],
  ["DADAM", 2019, "Nazari et al."],
  ["diffGrad", 2020, "Dubey et al."],
  ["EAdam", 2020, "Yuan & Gao"],
  ["Eve", 2018, "Hayashi et al."],
  ["Expectigrad", 2020, "Daley & Amato"],
  ["FastAdaBelief", 2021, "Zhou et al."],
  ["FRSGD", 2020, "Wang & Ye"],
  ["G-AdaGrad", 2021, "Chakrabarti & Chopra"],
  ["Gadam", 2020, "Granziol et al."],
  ["GOLS-I", 2019, "Kafka & Wilke"],
  ["Grad-Avg", 2020, "Purkayastha & Purkayastha"],
  ["Gravilon", 2020, "Kelterborn et al."],
  ["Gravity", 2021, "Bahrami & Zadeh"],
  ["HAdam", 2019, "Jiang et al."],
  ["HyperAdam", 2019, "Wang et al."],
  ["K-BFGS", 2020, "Goldfarb et al."],
  ["KF-QN-CNN", 2021, "Ren & Goldfarb"],
  ["KFLR", 2017, "Botev et al."],
  ["KFRA", 2017, "Botev et al."],
  ["L4Adam", 2018, "Rolínek & Martius"],
  ["L4Momentum", 2018, "Rolínek & Martius"],
  ["LaProp", 2020, "Ziyin et al."],
  ["M-SVAG", 2018, "Balles & Hennig"],
  ["MAS", 2020, "Landro et al."],
  ["MEKA", 2020, "Chen et al."],
  ["MTAdam", 2020, "Malkiel & Wolf"],
  ["NAMSG", 2019, "Chen et al."],
  ["ND-Adam", 2017, "Zhang et al."],
  ["Nero", 2021, "Liu et al."],
  ["Noisy Adam", 2018, "Zhang et al."],
  ["Noisy K-FAC", 2018, "Zhang et al."],
  ["NosAdam", 2019, "Huang et al."],
  ["Padam", 2018, "Chen & Gu"],
  ["PAGE", 2020, "Li et al."],
  ["PAL", 2020, "Mutschler & Zell"],
  ["PolyAdam", 2019, "Orvieto et al."],
  ["PowerSGD", 2019, "Vogels et al."],
  ["Probabilistic Polyak", 2021, "de Roos et al."],
  ["ProbLS", 2017, "Mahsereci & Hennig"],
  ["PStorm", 2020, "Xu"],
  ["RMSterov", 2019, "Choi et al."],
  ["SAdam", 2020, "Wang et al."],
  ["SALR", 2020, "Yue et al."],
  ["SC-Adagrad", 2017, "Mukkamala & Hein"],
  ["SC-RMSProp", 2017, "Mukkamala & Hein"],
  ["SDProp", 2017, "Ida et al."],
  ["SGD-BB", 2016, "Tan et al."],
  ["SGD-G2", 2020, "Ayadi & Turinici"],
  ["SGDHess", 2021, "Tran & Cutkosky"],
  ["SGDR", 2017, "Loshchilov & Hutter"],
  ["SHAdagrad", 2020, "Huang et al."],
  ["SignAdam++", 2019, "Wang et al."],
  ["SMG", 2020, "Tran et al."],
  ["SNGM", 2020, "Zhao et al."],
  ["SoftAdam", 2019, "Fetterman et al."],
  ["SRSGD", 2020, "Wang et al."],
  ["Step-Tuned SGD", 2021, "Castera et al."],
  ["SWATS", 2017, "Keskar & Socher"],
  ["TAdam", 2020, "Ilboudo et al."],
  ["TEKFAC", 2020, "Gao et al."],
  ["VAdam", 2018, "Khan et al."],
  ["VR-SGD", 2018, "Shang et al."],
  ["vSGD", 2013, "Schaul, Zhang & LeCun"],
  ["WNGrad", 2018, "Wu et al."],
  ["YellowFin", 2019, "Zhang & Mitliagkas"],
];

/** By code units, the same everywhere. */
const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

const entries =
  (status: CatalogueEntry["status"], isInStudy: boolean) =>
  ([name, year, source]: Line): CatalogueEntry => ({ name, source, year, isInStudy, status });

const implemented: readonly CatalogueEntry[] = Object.values(optimizers).map(({ name, title, source, year }) => ({
  name: title,
  source,
  year,
  isInStudy: implementedInStudy.includes(name),
  status: "implemented",
  optimizer: name,
}));

const loops: readonly CatalogueEntry[] = [
  {
    name: "Hessian-free",
    source: "Martens, Deep learning via Hessian-free optimization",
    year: 2010,
    isInStudy: false,
    status: "implemented",
    loop: "hessianFree",
  },
];

/**
 * Published optimizers by name, with what there is of each here: the methods of this package, the planned ones, and those
 * of the list in the appendix of "Descending through a Crowded Valley", as far as names, authors and years are certain.
 *
 * @see Schmidt, Schneider & Hennig, Descending through a Crowded Valley: Benchmarking Deep Learning Optimizers, 2021
 */
export const catalogue: readonly CatalogueEntry[] = [
  ...implemented,
  ...loops,
  ...plannedInStudy.map(entries("planned", true)),
  ...plannedBesides.map(entries("planned", false)),
  ...othersInStudy.map(entries("none", true)),
].sort((a, b) => order(a.name.toLowerCase(), b.name.toLowerCase()) || order(a.name, b.name));
