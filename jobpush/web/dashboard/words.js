// What the page says, in English and Korean.

const WORDS = {
  en: {
    skip: "Skip to the content", home: "jobpush, all jobs", pages: "Pages", jobs: "Jobs", workflows: "Workflows", language: "Language",
    freshness: "Freshness of the clusters", search: "Search", searchHint: "Search ids, names, users, reasons  ( / )", user: "User",
    cluster: "Cluster", workflow: "Workflow", clear: "Clear", states: "States", all: "all", name: "Name", job: "Job", state: "State",
    queue: "Queue", nodes: "Nodes", since: "For", why: "How and why", live: "live", connecting: "connecting", away: "reconnecting",
    seen: "{cluster}: seen {age} ago", stale: "{cluster}: stale, last seen {age} ago", never: "{cluster}: not seen yet",
    blind: "{cluster}: jobs are hidden from jobpush, last seen {age} ago",
    mock: "These jobs are invented: {cluster} is the demonstration queue, and no scheduler is watched.",
    shown: "{shown} of {total} jobs", loading: "loading {n} jobs", light: "Light", dark: "Dark", theme: "Change to: {theme}",
    soundOn: "Sound on", soundOff: "Sound off", sound: "Sound when a watched job ends", watch: "Tell me when it ends",
    watching: "You will be told when it ends", denied: "the browser does not allow notifications: a sound and this page's title tell",
    ended: "{job} has ended: {state}", back: "All jobs", history: "History", when: "When", lasted: "Lasted", knownBy: "Known by",
    account: "Account", workdir: "Working directory", comment: "Comment", submitted: "Submitted", started: "Started", endedAt: "Ended",
    exit: "Exit code", signal: "Signal", limit: "Time limit", attempt: "Attempt", flags: "Flags", reason: "Reason", array: "Array",
    tasks: "Tasks", native: "The scheduler's own words", nothing: "No jobs match.", unknownJob: "No scheduler knows the job {job}.",
    unknownWorkflow: "There is no workflow {name}.", progress: "{percent} ended", firstFailure: "First failure", noWorkflows:
    "No workflows are known. Jobs that carry a tag, such as sbatch --comment workflow=NAME, make one.", gantt: "When its jobs waited and ran",
    waited: "waited", ran: "ran", now: "now", tasksOf: "tasks {from} to {to}: {state}", taskOf: "task {task}: {state}", more: "and {n} more",
    observed: "seen in the queue", accounting: "accounting", inferred: "concluded", timelineOf: "Timeline of {job}", error: "This could not be loaded: {why}",
    signIn: "Sign in", signOut: "Sign out", token: "Token", refused: "This token was refused: {why}",
    signInHow: "This server asks who you are. Paste a token: on a login node, jobpush login --print makes one.",
    parent: "Part of", code: "exit {code}", bySignal: "signal {signal}",
  },
  ko: {
    skip: "본문으로 건너뛰기", home: "jobpush, 모든 작업", pages: "페이지", jobs: "작업", workflows: "워크플로", language: "언어",
    freshness: "클러스터 최신 상태", search: "검색", searchHint: "ID, 이름, 사용자, 사유 검색  ( / )", user: "사용자",
    cluster: "클러스터", workflow: "워크플로", clear: "지우기", states: "상태", all: "전체", name: "이름", job: "작업", state: "상태",
    queue: "큐", nodes: "노드", since: "경과", why: "결과와 사유", live: "실시간", connecting: "연결 중", away: "다시 연결 중",
    seen: "{cluster}: {age} 전 확인", stale: "{cluster}: 응답 없음, 마지막 확인 {age} 전", never: "{cluster}: 아직 확인되지 않음",
    blind: "{cluster}: jobpush에 작업이 보이지 않음, 마지막 확인 {age} 전",
    mock: "여기 있는 작업은 가상입니다. {cluster}은(는) 데모 큐이며 스케줄러를 감시하지 않습니다.",
    shown: "작업 {total}개 중 {shown}개", loading: "작업 {n}개 불러오는 중", light: "밝게", dark: "어둡게", theme: "다음으로 변경: {theme}",
    soundOn: "소리 켜짐", soundOff: "소리 꺼짐", sound: "지켜보는 작업이 끝나면 소리로 알림", watch: "끝나면 알려 주기",
    watching: "끝나면 알려 드립니다", denied: "브라우저가 알림을 허용하지 않아 소리와 페이지 제목으로 알립니다",
    ended: "{job} 종료: {state}", back: "모든 작업", history: "이력", when: "시각", lasted: "지속 시간", knownBy: "근거",
    account: "계정", workdir: "작업 디렉터리", comment: "설명", submitted: "제출", started: "시작", endedAt: "종료",
    exit: "종료 코드", signal: "시그널", limit: "시간 제한", attempt: "시도", flags: "플래그", reason: "사유", array: "배열",
    tasks: "태스크", native: "스케줄러의 원래 표현", nothing: "조건에 맞는 작업이 없습니다.", unknownJob: "작업 {job}을(를) 아는 스케줄러가 없습니다.",
    unknownWorkflow: "워크플로 {name}이(가) 없습니다.", progress: "{percent} 종료", firstFailure: "첫 실패", noWorkflows:
    "알려진 워크플로가 없습니다. sbatch --comment workflow=NAME 처럼 태그를 단 작업이 워크플로가 됩니다.", gantt: "작업이 기다리고 실행된 시간",
    waited: "대기", ran: "실행", now: "지금", tasksOf: "태스크 {from}–{to}: {state}", taskOf: "태스크 {task}: {state}", more: "외 {n}개",
    observed: "큐에서 확인", accounting: "계정 기록", inferred: "추론", timelineOf: "{job}의 타임라인", error: "불러오지 못했습니다: {why}",
    signIn: "로그인", signOut: "로그아웃", token: "토큰", refused: "토큰이 거부되었습니다: {why}",
    signInHow: "이 서버는 사용자를 확인합니다. 토큰을 붙여 넣으세요. 로그인 노드에서 jobpush login --print 로 만들 수 있습니다.",
    parent: "상위 작업", code: "종료 코드 {code}", bySignal: "시그널 {signal}",
  },
};

const STATES = {
  ko: {
    QUEUED: "대기", HELD: "보류", STARTING: "시작 중", RUNNING: "실행 중", SUSPENDED: "일시 중단", FINISHING: "마무리 중", UNKNOWN: "알 수 없음",
    COMPLETED: "완료", FAILED: "실패", CANCELLED: "취소됨", TIMEOUT: "시간 초과", OUT_OF_MEMORY: "메모리 부족", NODE_FAIL: "노드 장애",
    LAUNCH_FAIL: "실행 실패", DEADLINE: "기한 초과", PREEMPTED: "선점됨", MOVED: "이동됨", LOST: "유실",
  },
};

let language = "en";

export function languages() {
  return Object.keys(WORDS);
}

export function speak(code) {
  language = WORDS[code] ? code : "en";
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = word(element.dataset.word);
  for (const element of document.querySelectorAll("[data-word-label]")) element.setAttribute("aria-label", word(element.dataset.wordLabel));
  for (const element of document.querySelectorAll("[data-word-placeholder]")) element.placeholder = word(element.dataset.wordPlaceholder);
}

export function word(name, values = {}) {
  const text = WORDS[language][name] ?? WORDS.en[name] ?? name;
  return text.replace(/\{(\w+)\}/g, (_, key) => String(values[key] ?? ""));
}

export function stateWord(state) {
  return STATES[language]?.[state] ?? state.replaceAll("_", " ").toLowerCase();
}

export function number(value) {
  return new Intl.NumberFormat(language).format(value);
}

export function percent(share) {
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0 }).format(share);
}

export function clock(time) {
  if (!time) return "";
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" }).format(new Date(time));
}

export function shortClock(time, day) {
  const options = day ? { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" } : { timeStyle: "medium" };
  return new Intl.DateTimeFormat(language, options).format(new Date(time));
}

const UNITS = { en: ["d", "h", "min", "s"], ko: ["일", "시간", "분", "초"] };

// 5 s, 3 min 20 s, 2 h 5 min, 3 d 4 h
export function lasting(seconds) {
  const left = Math.max(0, Math.round(seconds));
  const sizes = [86400, 3600, 60, 1];
  const units = UNITS[language];
  for (let place = 0; place < sizes.length; place += 1) {
    const size = sizes[place];
    if (left >= size || size === 1) {
      const rest = size > 1 ? Math.floor((left % size) / sizes[place + 1]) : 0;
      const first = `${Math.floor(left / size)} ${units[place]}`;
      return rest ? `${first} ${rest} ${units[place + 1]}` : first;
    }
  }
  return "";
}
