// Opens the print dialogue. Without scripts the button stays hidden, and the browser's own works.
const button = document.querySelector("[data-print]");
button.hidden = false;
button.addEventListener("click", () => window.print());
