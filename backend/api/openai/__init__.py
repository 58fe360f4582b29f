"""The OpenAI API: a gateway to the model servers, and our spaces as models."""
