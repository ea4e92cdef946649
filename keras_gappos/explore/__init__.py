"""A page in the browser that shows, on any model, what happens when an image moves.

FastAPI and uvicorn serve it, and the page itself is plain HTML and JavaScript: an image that is
dragged by pixels needs pointer events and answers within a frame or two, which the widgets of
Gradio and Streamlit do not give. The same page without the server is the documentation's live demo.
"""
